"""The noise: its generator, the compiled path beside the plain one, both beside SciPy, and its statistical quality."""

import errno
import hashlib
import itertools
import math
import os
import shutil
import subprocess
import sys
import tempfile
import warnings
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.special import ndtr, ndtri

from initbench import initializers as init
from initbench.random import noise, streams
from initbench.random.noise import formulas, plain
from initbench.random.noise.formulas import BLOCKS, TILE
from initbench.system import cache, threads
from initbench.system import compiled as code

try:
    from initbench.random.noise import compiled
    from initbench.system import machine_code
except (ImportError, OSError):
    compiled = None

needs_numba = pytest.mark.skipif(compiled is None, reason="numba cannot be used with this Python")
PATHS = [plain, pytest.param(compiled, marks=needs_numba)]
BEST = compiled or plain

# kat_vectors of the authors' Random123 (counter, key, result).
KNOWN_ANSWERS = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


def hexadecimal(words):
    return [int(word, 16) for word in words.split()]


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN_ANSWERS)
def test_the_generator_is_philox_by_its_known_answers(counter, key, answer):
    c0, c1, c2, c3 = (np.uint64(word) for word in hexadecimal(counter))
    words = formulas.philox(c0 | c1 << np.uint64(32), c2, c3, *(np.uint64(word) for word in hexadecimal(key)))
    assert [int(word) for word in words] == hexadecimal(answer)


def philox_by_hand(counter, key):
    """Philox 4×32-10 in Python's integers."""
    c, k = list(counter), list(key)
    for _ in range(10):
        left, right = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [right >> 32 ^ c[1] ^ k[0], right % 2**32, left >> 32 ^ c[3] ^ k[1], left % 2**32]
        k = [(k[0] + 0x9E3779B9) % 2**32, (k[1] + 0xBB67AE85) % 2**32]
    return c


@pytest.mark.parametrize("path", PATHS)
@given(
    st.tuples(*[st.integers(0, 2**32 - 1)] * 4), st.integers(0, 2**24) | st.just(2**32 // BLOCKS - 1), st.integers(1, 3)
)
@settings(max_examples=50)
def test_word_i_of_a_stream_is_a_word_of_one_block(path, key, tile, tiles):
    """Tile by tile: the first words of its 128 blocks, then their second ones, and so on; also beyond 2³² blocks."""
    out = np.empty(tiles * TILE - 7, np.uint32)
    path.words(tile, key, out)
    k0, k1, c2, c3 = key
    for i in {0, 1, BLOCKS, TILE - 8, out.size - 1}:
        block, word = (tile + i // TILE) * BLOCKS + i % BLOCKS, i % TILE // BLOCKS
        assert out[i] == philox_by_hand((block % 2**32, block >> 32, c2, c3), (k0, k1))[word]


def test_a_stream_is_named_by_the_words_of_its_seed_sequence():
    sequence = np.random.SeedSequence(5, spawn_key=(0, 2))
    k0, k1, c2, c3 = (int(word) for word in sequence.generate_state(4))
    assert streams.key(streams.weights(5, 2)) == streams.key(sequence) == (k0, k1, c2, c3)
    assert noise.words((1,), sequence)[0] == philox_by_hand((0, 0, c2, c3), (k0, k1))[0]
    assert streams.key(5) == streams.key(np.int64(5)) == streams.key(streams.weights(5, 0))
    assert streams.key(None) != streams.key(None)
    assert streams.key(np.random.SeedSequence([5, 6])) != streams.key(np.random.SeedSequence([5, 7]))


# The arguments of each distribution, in addition to its key.
DISTRIBUTIONS = {
    "words": (),
    "uniform": (0.1, 0.3, -0.2, 0.4),
    "normal": (0.3, 0.2),
    "truncated_normal": (0.3, 0.2, 0.01, 0.9, -1.6, 1.7),
}


@needs_numba
@pytest.mark.parametrize("distribution", sorted(DISTRIBUTIONS))
@given(st.integers(1, 5000), st.integers(0, 2**40), st.tuples(*[st.integers(0, 2**32 - 1)] * 4))
@settings(max_examples=60)
def test_the_compiled_path_has_the_bits_of_the_plain_one(distribution, size, tile, key):
    dtype = np.uint32 if distribution == "words" else np.float32
    outputs = []
    for path in (plain, compiled):
        out = np.empty(size, dtype)
        getattr(path, distribution)(tile, key, *DISTRIBUTIONS[distribution], out)
        outputs.append(out.tobytes())
    assert outputs[0] == outputs[1]


def extreme_words():
    """Words over the whole range, the largest, the smallest, and those around every power of two."""
    around = [sign * 2**n + d for n in range(32) for sign in (-1, 1) for d in range(-3, 4)]
    signed = np.unique(
        np.clip(np.concatenate([around, np.linspace(-(2**31), 2**31 - 1, 200_001)]), -(2**31), 2**31 - 1)
    )
    return signed.astype(np.int64).astype(np.int32)


def test_the_quantile_is_scipys_to_5e_7_for_every_kind_of_word():
    signed = extreme_words()
    v, y = formulas.centred(signed), formulas.spread(signed)
    bits = y.view(np.int32)
    e = formulas.exponent(bits)
    z = formulas.normal_quantile(v, formulas.mantissa(bits, e).view(np.float32), e)
    exact = ndtri((signed.astype(np.float64) + 2.0**31 + 0.5) / 2.0**32)
    np.testing.assert_allclose(z, exact, rtol=5e-7)
    assert z.dtype == np.float32
    assert np.abs(z).max() == pytest.approx(-ndtri(2.0**-33), rel=1e-6)


def test_the_polynomials_are_those_that_their_tool_finds():
    from tools import fit_quantile

    log2, log2_error = fit_quantile.fit_log2()
    p, q, ratio_error = fit_quantile.fit_quantile()
    assert log2_error < 5e-8
    assert ratio_error < 2e-8
    f, t = np.linspace(-1 / 3, 1 / 3, 1001), np.linspace(-31, 0, 1001)
    polynomial = np.polynomial.polynomial.polyval
    np.testing.assert_allclose(polynomial(f, formulas.LOG2), polynomial(f, log2), rtol=1e-6)
    ratio = polynomial(t, formulas.NUMERATOR) / polynomial(t, (1.0, *formulas.DENOMINATOR))
    np.testing.assert_allclose(ratio, polynomial(t, p) / polynomial(t, q), rtol=1e-6)


@given(
    st.sampled_from(["uniform", "normal", "truncated_normal"]),
    st.lists(st.integers(1, 70), min_size=1, max_size=3),
    st.integers(0, 2**64),
    st.floats(-2.5, -0.001),
    st.floats(0.001, 2.5),
    st.floats(0.01, 2),
)
@settings(max_examples=200)
def test_float32_is_float64s_by_scipy_rounded(name, shape, seed, low, high, std):
    parameters = {"normal": {"mean": low, "std": std}, "uniform": {"low": low, "high": high}}.get(
        name, {"mean": low, "std": std, "lower": low, "upper": high}
    )
    fast, exact = (getattr(init, name)(tuple(shape), seed=seed, dtype=dtype, **parameters) for dtype in ("f4", "f8"))
    # Of a normal number 5e-7 of itself, of a truncated one 3e-6 standard deviations, and twice float32's rounding.
    size = {"normal": 6.4 * std, "truncated_normal": 6 * std}.get(name, 0.0)
    np.testing.assert_allclose(fast, exact, rtol=1.2e-7, atol=5e-7 * size + 2.4e-7 * (abs(low) + high))
    if name == "uniform":
        assert np.float32(low) <= fast.min()
        assert fast.max() <= np.float32(high)
    if name == "truncated_normal":
        assert np.float32(low) + np.float32(std) * np.float32(low) <= fast.min()
        assert fast.max() <= np.float32(low) + np.float32(std) * np.float32(high)


def test_default_bounds_are_within_a_millionth_of_a_standard_deviation():
    fast, exact = (init.truncated_normal((1000, 1000), std=1.0, seed=0, dtype=dtype) for dtype in ("f4", "f8"))
    np.testing.assert_allclose(fast, exact, rtol=0, atol=1e-6)


def test_bounds_that_float32_has_no_digits_for_take_scipys_inverse():
    for lower, upper in ((-5.0, 2.0), (3.0, 4.0), (2.4, 2.5), (-1.0, 3.5)):
        parameters = {"mean": 0.5, "std": 2.0, "lower": lower, "upper": upper, "seed": 3}
        fast, exact = (init.truncated_normal((50, 40), dtype=dtype, **parameters) for dtype in ("f4", "f8"))
        assert np.array_equal(fast, exact.astype(np.float32))
        assert stats.kstest(exact.ravel(), stats.truncnorm(lower, upper, 0.5, 2.0).cdf).pvalue > 1e-3


@pytest.mark.parametrize("distribution", sorted(DISTRIBUTIONS))
def test_the_number_of_threads_changes_no_bit(distribution, monkeypatch):
    shape, arrays = (3, 2**19 + 77), []  # a remainder that fills no tile
    dtype = np.uint32 if distribution == "words" else np.float32
    for count in ("1", "2", "3"):
        monkeypatch.setenv("OMP_NUM_THREADS", count)
        arrays.append(noise._filled(shape, 1, dtype, distribution, *DISTRIBUTIONS[distribution]))
    assert arrays[0].tobytes() == arrays[1].tobytes() == arrays[2].tobytes()
    whole = np.empty(arrays[0].size, dtype)
    noise.load().__dict__[distribution](0, streams.key(1), *DISTRIBUTIONS[distribution], whole)
    assert whole.tobytes() == arrays[0].tobytes()


def test_orthogonal_weights_have_the_same_bits_on_any_number_of_threads():
    code = (
        "import initbench as ib\n"
        "shapes = (1300, 1100), (784, 256), (768, 10)\n"
        "print([hash(ib.initializers.orthogonal(shape, seed=0).tobytes()) for shape in shapes])"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env=environment | {"OMP_NUM_THREADS": count, "OPENBLAS_NUM_THREADS": count},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for count in ("1", "2")
    }
    assert len(outputs) == 1


def test_a_weight_depends_on_its_index_alone():
    """A longer array begins with the shorter one, whatever its shape."""
    long = init.normal((900, 11), seed=4).ravel()
    for shape in ((7,), (513,), (20, 30), (2, 5, 6, 7)):
        short = init.normal(shape, seed=4).ravel()
        assert np.array_equal(short, long[: short.size])


@needs_numba
def test_the_plain_path_serves_until_the_compiled_one_is_worth_loading(monkeypatch):
    def paths(*sizes):
        monkeypatch.setattr(noise._code, "loaded", None)
        monkeypatch.setattr(noise._code, "_done", 0)
        return [noise._code.module(size) for size in sizes]

    half = noise.WORTH_LOADING // 2
    assert paths(100, half, half, 1) == [plain, plain, compiled, compiled]
    assert paths(noise.WORTH_LOADING) == [compiled]
    monkeypatch.setitem(sys.modules, "numba", None)  # as where it cannot be imported
    for name in ("initbench.random.noise.compiled", "initbench.system.machine_code"):
        monkeypatch.delitem(sys.modules, name)
    assert paths(noise.WORTH_LOADING, 1) == [plain, plain]


def test_weights_in_a_small_run_do_not_load_numba():
    code = (
        "import sys, initbench as ib; ib.initializers.he_normal((784, 256), seed=0)\n"
        "print({'numba', 'torch', 'pandas', 'scipy'} & set(sys.modules))"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "set()"


@needs_numba
def test_the_compiled_path_accepts_every_type_of_number():
    """Integers, fractions and NumPy's numbers are converted to floats; nothing is recompiled for them."""
    noise.load()
    expected = init.normal((40, 3), mean=1.0, std=2.0, seed=0)
    before = len(compiled._normal.signatures)
    for mean, std in ((1, 2), (np.float32(1), np.int64(2)), (Fraction(1), np.array(2.0))):
        assert np.array_equal(init.normal((40, 3), mean=mean, std=std, seed=0), expected)
    assert len(compiled._normal.signatures) == before
    assert np.isfinite(init.normal((4,), std=10**30, seed=0)).all()
    assert not np.signbit(init.uniform((600,), low=-0.0, high=-0.0, seed=0)).any()


def test_seeds_are_what_numpy_takes_for_one():
    assert np.array_equal(init.normal((5, 4), seed=[1, 2]), init.normal((5, 4), seed=[1, 2]))
    assert not np.array_equal(init.normal((5, 4), seed=[1, 2]), init.normal((5, 4), seed=[2, 1]))
    for wrong in (1.5, "1", np.random.default_rng(0)):
        with pytest.raises(TypeError, match="SeedSequence expects int or sequence of ints"):
            init.normal((5, 4), seed=wrong)
    with pytest.raises(ValueError, match="non-negative"):
        init.normal((5, 4), seed=-1)


def test_the_mask_of_a_sparse_scheme_has_a_stream_of_its_own():
    sequence = np.random.SeedSequence(1)
    children = [streams.key(child) for child in sequence.spawn(3)]
    assert streams.key(streams.mask(sequence)) not in [streams.key(sequence), *children]
    assert streams.key(streams.mask(3)) == streams.key(streams.mask(streams.weights(3, 0)))
    W = init.sparse((20, 10), connections=20, std=1.0, seed=sequence)
    assert np.array_equal(W.T, init.normal((10, 20), std=1.0, seed=sequence))


@pytest.fixture(scope="module")
def compiled_before(tmp_path_factory):
    """A user's folder for caches in which the uniform distribution is compiled."""
    home = tmp_path_factory.mktemp("cache")
    code = "from initbench.random import noise; noise.load(); noise.uniform((5,), 0.0, 1.0, 0)"
    environment = {**os.environ, "XDG_CACHE_HOME": str(home)}
    subprocess.run([sys.executable, "-W", "error", "-c", code], env=environment, check=True)
    return home / "initbench"


@pytest.fixture
def anew(monkeypatch, tmp_path):
    """A function that loads the compiled path as a new process does, with its cache below `tmp_path`."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(noise, "compiled", compiled)  # and so put back at the end
    for owner, name, value in ((noise._code, "loaded", None), (noise._code, "_done", 0), (code, "notes", [])):
        monkeypatch.setattr(owner, name, value)

    def load():
        monkeypatch.delitem(sys.modules, "initbench.random.noise.compiled", raising=False)
        monkeypatch.setattr(noise._code, "loaded", None)
        return noise.load()

    return load


def uniform_weights():
    return noise.uniform((1000,), -0.5, 0.5, 3)


def same_bits_and_one_note(*words):
    """Weights are drawn twice; there is one warning, which has these words, and the bits are the plain path's."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        drawn = [uniform_weights(), uniform_weights()]
    expected = np.empty(1000, np.float32)
    plain.uniform(0, streams.key(3), 0.0, 0.5, -0.5, 0.5, expected)
    assert [weights.tobytes() for weights in drawn] == [expected.tobytes()] * 2
    (line,) = code.notes
    assert [str(warning.message) for warning in caught] in ([line], [])  # a note of the loading has come before
    for word in words:
        assert word in line


def beside_the_source():
    return set(Path(noise.__file__).parent.rglob("*.nb[ic]*"))


def cut(path):
    path.write_bytes(path.read_bytes()[:-40])


def emptied(path):
    path.write_bytes(b"")


def zeroed(path):
    """As a file system leaves a file whose last blocks it had not written before the power went."""
    path.write_bytes(path.read_bytes()[:700] + bytes(path.stat().st_size - 700))


@needs_numba
@pytest.mark.parametrize("damage", [cut, emptied, zeroed])
@pytest.mark.parametrize("ending", ["nbi", "nbc"])
def test_damaged_compiled_code_is_compiled_again_and_replaced(anew, compiled_before, tmp_path, damage, ending):
    shutil.copytree(compiled_before, tmp_path / "initbench")
    (file,) = tmp_path.rglob(f"*._uniform-*.{ending}")
    damage(file)
    damaged = file.read_bytes()
    path = anew()
    assert path.CACHE.folder.parent == tmp_path / "initbench"
    assert np.array_equal(uniform_weights(), noise.uniform((1000,), -0.5, 0.5, 3))
    assert code.notes == []
    assert noise._code.loaded is path
    assert file.read_bytes() != damaged


@needs_numba
def test_on_a_full_disk_compiled_code_is_not_kept(anew, monkeypatch):
    from numba.core.caching import IndexDataCacheFile

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(IndexDataCacheFile, "_save_data", full)
    path = anew()
    same_bits_and_one_note("No space left on device", str(path.CACHE.folder), "each process compiles it again")
    assert noise._code.loaded is path


@needs_numba
def test_an_array_that_breaks_off_on_one_of_its_threads_is_drawn_again_whole(anew, compiled_before, monkeypatch):
    path = anew()

    def breaks(tile, key, *arguments):
        arguments[-1][:] = 9.0
        if tile:
            raise RuntimeError("no such machine")

    monkeypatch.setattr(path, "uniform", breaks)
    size = threads.WORTH_SHARING + 5
    with pytest.warns(UserWarning, match="no such machine"):
        drawn = noise.uniform((size,), -0.5, 0.5, 3)
    expected = np.empty(size, np.float32)
    plain.uniform(0, streams.key(3), 0.0, 0.5, -0.5, 0.5, expected)
    assert drawn.tobytes() == expected.tobytes()


only_root = pytest.mark.skipif(
    os.name != "posix" or os.geteuid() != 0, reason="only the superuser gives a folder to another user"
)


def a_file(folder, monkeypatch):
    folder.write_bytes(b"")


def a_link(folder, monkeypatch):
    folder.symlink_to(folder.parents[1] / "elsewhere", target_is_directory=True)
    folder.resolve().mkdir()


def open_to_others(folder, monkeypatch):
    folder.mkdir(mode=0o777)
    folder.chmod(0o755)


def below_what_all_may_write_to(folder, monkeypatch):
    folder.parents[1].chmod(0o777)


def below_anothers(folder, monkeypatch):
    folder.mkdir(mode=0o700)
    os.chown(folder.parent, 54_321, -1)


def anothers(folder, monkeypatch):
    folder.mkdir(mode=0o700)
    monkeypatch.setattr("initbench.system.cache.os.geteuid", lambda: folder.stat().st_uid + 1)


def unwritable(folder, monkeypatch):
    from numba.core.caching import UserProvidedCacheLocator

    def cannot(*_):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(UserProvidedCacheLocator, "ensure_cache_path", cannot)


@needs_numba
@pytest.mark.skipif(os.name != "posix", reason="Windows protects the folders of a user from others")
@pytest.mark.parametrize(
    "obstacle",
    [
        a_file,
        a_link,
        open_to_others,
        below_what_all_may_write_to,
        pytest.param(below_anothers, marks=only_root),
        anothers,
        unwritable,
    ],
)
def test_compiled_code_is_kept_in_a_folder_of_the_users_alone_or_nowhere(anew, monkeypatch, tmp_path, obstacle):
    folder = tmp_path / "initbench" / compiled.CACHE.name
    folder.parent.mkdir()
    obstacle(folder, monkeypatch)
    before = beside_the_source()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = anew()
    monkeypatch.setattr(path, "uniform", plain.uniform)  # compiling in memory is what takes long, and tested enough
    same_bits_and_one_note(str(folder), "cannot be kept", "XDG_CACHE_HOME")
    assert path._uniform.stats.cache_path is None
    assert beside_the_source() == before
    assert not [file for file in tmp_path.rglob("*") if file.suffix in (".nbi", ".nbc")]


@pytest.mark.skipif(os.name != "posix", reason="modes and HOME as POSIX has them")
@needs_numba
def test_the_folder_of_compiled_code_is_named_by_all_that_the_code_follows_from(compiled_before, monkeypatch, tmp_path):
    """numba looks at the file of the function that it compiles, and not at those that it calls."""
    folder = compiled_before / compiled.CACHE.name
    assert list(folder.rglob("*.nbi"))
    assert folder.stat().st_mode & 0o777 == 0o700
    modules = machine_code, formulas, compiled
    names = [compiled.CACHE.name]
    for module in modules:
        edited = tmp_path / Path(module.__file__).name
        edited.write_text(Path(module.__file__).read_text() + "\n")
        with monkeypatch.context() as change:
            change.setattr(module, "__file__", str(edited))
            names.append(machine_code.Cache("noise", modules).name)
    for target in ("numba.__version__", "numpy.__version__", "platform.python_version"):
        with monkeypatch.context() as change:
            change.setattr(target, (lambda: "9.9.9") if "platform" in target else "9.9.9")
            names.append(machine_code.Cache("noise", modules).name)
    assert len(set(names)) == 7


@pytest.mark.skipif(os.name != "posix", reason="modes and HOME as POSIX has them")
def test_caches_lie_below_no_working_directory(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", "evil")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache.cache_folder() == tmp_path / "home" / ".cache" / "initbench"
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setenv("HOME", "also-relative")
    own = cache.cache_folder()
    assert own.parent == tmp_path
    assert own.stat().st_mode & 0o777 == 0o700
    cache.provide_home()
    assert os.environ["HOME"] == str(own)
    own.chmod(0o777)
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pathlib.Path.home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    with pytest.raises(PermissionError, match="other users may enter it"):
        cache.cache_folder()
    cache.provide_home()
    assert Path(os.environ["HOME"]).stat().st_mode & 0o777 == 0o700
    assert os.environ["HOME"] != str(own)


def test_products_use_one_thread_until_the_last_context_exits():
    libraries = threads._libraries()

    def counts():
        return [library.num_threads for library in libraries.lib_controllers]

    with libraries.limit(limits=2):
        started = counts()
        first, second = threads.one_for_products(), threads.one_for_products()
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        assert set(counts()) <= {1}
        second.__exit__(None, None, None)
        assert counts() == started


def test_what_a_shared_call_raises_is_raised(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    done = []
    with threads.shared(threads.WORTH_SHARING) as run_shared:
        run_shared(done.append, range(5))
        assert sorted(done) == [0, 1, 2, 3, 4]
        with pytest.raises(ZeroDivisionError):
            run_shared(lambda n: 1 // n, range(3))


@pytest.mark.parametrize(("requested", "threads_"), [("3", 3), ("4,2", 4), ("0", None), ("abc", None), ("", None)])
def test_omp_num_threads_limits_the_threads(requested, threads_, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", requested)
    assert threads.allowed() == (threads_ or threads.available_cores())


# ---------------------------------------------------------------------------------------------------------------------
# Quality, on 10⁸ draws. The seeds are fixed: a generator that is right passes for good.

DRAWS = 10**8
PART = 2 * 10**6


def parts(distribution):
    """10⁸ draws of one stream, a part after another."""
    out = np.empty(PART, np.uint32 if distribution == "words" else np.float32)
    parameters = {"uniform": (0.5, 0.5, 0.0, 1.0), "normal": (0.0, 1.0), "words": ()}.get(distribution)
    if distribution == "truncated_normal":
        share = math.erf(math.sqrt(2))
        parameters = (0.0, 1.0, 0.0, share, -2.0, 2.0)
    tiles = -(-PART // TILE)
    for n in range(DRAWS // PART):
        getattr(BEST, distribution)(n * tiles, streams.key(7), *parameters, out)
        yield out


CDFS = {
    "uniform": lambda x: x,
    "normal": ndtr,
    "truncated_normal": lambda x: (ndtr(x) - ndtr(-2)) / (ndtr(2) - ndtr(-2)),
}


@pytest.mark.parametrize("distribution", sorted(CDFS))
def test_kolmogorov_smirnov_and_chi_square_on_1e8_draws(distribution):
    """At 2¹⁶ bins of equal probability: chi-square of the counts, and the largest distance at the bins' edges.

    Between two edges the distribution function moves by 1.5e-5, the critical distance of 10⁸ draws at 0.1% is 1.9e-4.
    """
    bins = 2**16
    counts = np.zeros(bins, np.int64)
    for x in parts(distribution):
        u = CDFS[distribution](x.astype(np.float64))
        counts += np.bincount(np.minimum((u * bins).astype(np.int64), bins - 1), minlength=bins)
    assert counts.sum() == DRAWS
    assert 1e-3 < stats.chisquare(counts).pvalue < 1 - 1e-3
    distance = np.abs(np.cumsum(counts) / DRAWS - np.arange(1, bins + 1) / bins).max()
    assert stats.kstwobign.sf(distance * math.sqrt(DRAWS)) > 1e-3


def test_the_tails_of_1e8_normal_draws_and_their_moments():
    limits = [3.0, 4.0, 4.5, 5.0, 5.5]
    beyond, sums = np.zeros((2, len(limits)), np.int64), np.zeros(4)
    for x in parts("normal"):
        far = x[np.abs(x) > limits[0]].astype(np.float64)
        beyond += [[(sign * far > limit).sum() for limit in limits] for sign in (-1, 1)]
        square = np.square(x, dtype=np.float64)
        sums += [x.sum(dtype=np.float64), square.sum(), x.astype(np.float64) @ square, square @ square]
    expected = DRAWS * ndtr([-limit for limit in limits])  # of the last one, 1.9
    assert (stats.poisson.sf(beyond - 1, expected) > 1e-3).all()
    assert (stats.poisson.cdf(beyond, expected) > 1e-3).all()
    for total, mean, variance in zip(sums, (0, 1, 0, 3), (1, 2, 15, 96), strict=True):
        assert abs(total / DRAWS - mean) < 4 * math.sqrt(variance / DRAWS)


@pytest.mark.slow
def test_every_bit_of_the_words_is_fair_and_follows_no_other():
    """Counts of ones, and of ones of two bits together, in 10⁷ words."""
    words = noise.words((10**7,), 11)
    bits = np.unpackbits(words.view(np.uint8)).reshape(-1, 32).astype(np.float32) * 2 - 1
    n = len(bits)
    assert np.abs(bits.sum(axis=0, dtype=np.float64)).max() < 4.5 * math.sqrt(n)
    together = sum(block.T.astype(np.float64) @ block for block in np.array_split(bits, 20))
    assert np.abs(together - np.diag(np.diagonal(together))).max() < 5 * math.sqrt(n)


def correlation_is_nil(x, y):
    return abs(float(x @ y)) / math.sqrt(float(x @ x) * float(y @ y)) * math.sqrt(x.size) < 4


def test_streams_are_not_correlated():
    """Neighbouring seeds, layers, and kinds of stream; and squares, which see a common scale."""
    names = [
        streams.weights(0, 0),
        streams.weights(1, 0),
        streams.weights(0, 1),
        streams.biases(0, 0),
        streams.draws(0, 0),
    ]
    drawn = [noise.normal((10**6,), 0.0, 1.0, name).astype(np.float64) for name in names]
    for first, other in itertools.combinations(drawn, 2):
        assert correlation_is_nil(first, other)
        assert correlation_is_nil(first**2 - 1, other**2 - 1)


def test_a_stream_is_not_correlated_with_itself():
    """At distances of one weight, one word of a block, a tile, a row, a chunk, a thread's part."""
    x = noise.normal((4 * 10**6,), 0.0, 1.0, 3).astype(np.float64)
    for distance in (1, 2, 3, 4, 10, BLOCKS, 2 * BLOCKS, TILE, 784, 4096, plain.CHUNK, noise.TILES * TILE, 10**6):
        assert correlation_is_nil(x[:-distance], x[distance:])
        assert correlation_is_nil(x[:-distance] ** 2 - 1, x[distance:] ** 2 - 1)


def test_many_streams_are_uniform_at_their_first_weight():
    """The first words of 20,000 seeds: what a user who tries many seeds sees."""
    first = np.array([noise.standard_uniform((2,), seed) for seed in range(20_000)])
    assert stats.kstest(first[:, 0], "uniform").pvalue > 1e-3
    assert stats.kstest(first[:, 1], "uniform").pvalue > 1e-3
    assert correlation_is_nil(first[:-1, 0] - 0.5, first[1:, 0] - 0.5)


def test_the_bits_are_those_that_earlier_versions_and_other_machines_made():
    """Recorded once. A change of these bits requires a new TRAINING_VERSION: all results change."""
    digests = {}
    for distribution in ("uniform", "normal", "truncated_normal"):
        W = init.INITIALIZERS[distribution].function((100, 30), seed=0)
        digests[distribution] = hashlib.sha256(W.astype("<f4").tobytes()).hexdigest()[:16]
    assert digests == {
        "uniform": "deaf569015829a8b",
        "normal": "1b3ccf4380a04c6b",
        "truncated_normal": "5baa17118ec6b154",
    }

"""A Dask cluster trains: real processes that are killed, stopped, started and of another version."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import made_up
import pandas as pd
import pytest
from dask_cluster import DaskCluster, trainers, until
from idx import write_folder
from plugin_code import small_grid

import initbench as ib
from initbench.errors import UserError

pytestmark = [
    pytest.mark.skipif(not importlib.util.find_spec("distributed"), reason="Dask is not installed: .[cluster]"),
    pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="processes are looked up in /proc"),
]

GRID = """
name = "spread"
[grid]
initializer = ["glorot_uniform", { name = "normal", std = 0.2 }]
activation = ["tanh", "relu"]
loss = ["mse"]
seed = 6
[model]
hidden = []
output_activation = "same"
[training]
epochs = 3
train_size = 6400
"""


@pytest.fixture(scope="module")
def grid_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("grid") / "spread.toml"
    path.write_text(GRID)
    return path


@pytest.fixture(scope="module")
def here(grid_file, tmp_path_factory):
    """The experiment without a cluster: its folder and its table. Two cells to a stack, so that there are many."""
    results = tmp_path_factory.mktemp("here")
    return results / "spread", made_up_here(grid_file, results=results)


@pytest.fixture(scope="module")
def trained_here(grid_file, tmp_path_factory):
    """The same, trained."""
    results = tmp_path_factory.mktemp("trained_here")
    return results / "spread", ib.run(grid_file, results=results, workers=2, width=2).frame


def made_up_here(grid_file, **settings):
    """`ib.run` on this machine, by trainers that are made up."""
    with pytest.MonkeyPatch.context() as patch:
        made_up.instantly(patch)
        return ib.run(grid_file, width=2, **settings).frame


WITH_LEAVE = "import os; os.environ['INITBENCH_ALLOW_PLUGINS'] = '1'"


@pytest.fixture(scope="module")
def own_grid(tmp_path_factory):
    """A grid with an own initializer, model and data set, in a folder that no worker reads from; as many stacks."""
    text = GRID.replace('"glorot_uniform"', '"mine"').replace("seed = 6", "seed = 4").replace("6400", "512")
    text = text.replace('activation = ["tanh", "relu"]', 'activation = ["tanh"]\nmodel = ["perceptron", "small"]')
    text = f'plugins = ["schemes.py"]\ndataset = "load_bars"\n{text}'
    return small_grid(tmp_path_factory.mktemp("own_grid"), text=text, name="spread.toml")


@pytest.fixture(scope="module")
def own_here(own_grid, tmp_path_factory):
    """Its experiment without a cluster."""
    results = tmp_path_factory.mktemp("own_here")
    return results / "spread", made_up_here(own_grid, results=results, allow_plugins=True)


@pytest.fixture
def cluster(tmp_path):
    """A cluster whose trainers are made up, so that a stack takes a known time and hardly any work."""
    with DaskCluster(tmp_path / "dask", seconds=0.4) as started:
        yield started


@pytest.fixture
def real_cluster(tmp_path):
    """A cluster that trains."""
    with DaskCluster(tmp_path / "dask") as started:
        yield started


def command(grid_file, results, cluster, *more):
    """The real command, begun; without its report, which takes as long as all the rest."""
    program = (
        "import sys; from initbench import cli; from initbench.api import training; from initbench.cli import run\n"
    )
    program += "training.update_report = run._print_summary = lambda *_: None\nsys.exit(cli.main())"
    arguments = [
        "run",
        str(grid_file),
        "--width",
        "2",
        "--results",
        str(results),
        "--scheduler",
        cluster.address,
        *more,
    ]
    return subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        env=cluster.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process, status=0, seconds=240):
    out, err = process.communicate(timeout=seconds)
    assert process.returncode == status, out + err
    assert "Traceback" not in out + err
    return out, err


def same_and_once(folder, here):
    """The table is that of the run on one machine, bit for bit, and no cell is in it twice."""
    pd.testing.assert_frame_equal(ib.load(folder), here[1], check_exact=True)
    rows = pd.read_parquet(folder / "parts")
    assert not rows.duplicated(["cell", "epoch"]).any()


def parts(folder):
    return {path.name for path in (Path(folder) / "parts").glob("[!.]*.parquet")}


@pytest.mark.slow
def test_a_cluster_gives_the_files_of_one_machine(real_cluster, grid_file, trained_here, tmp_path):
    cluster = real_cluster
    cluster.add("one", threads=2)
    out, _ = ended(command(grid_file, tmp_path, cluster))
    assert parts(tmp_path / "spread") == parts(trained_here[0])
    same_and_once(tmp_path / "spread", trained_here)
    assert "1 worker on 1 host, 2 stacks at a time: 2 on " in out
    assert "Dask dashboard: " in out
    assert "24 of 24 cells" in out
    out, _ = ended(command(grid_file, tmp_path, cluster))
    assert "Nothing to train" in out


# As a person writes it, without `if __name__ == "__main__"`; beside it the ports that its processes listen to.
SCRIPT = """
import os, sys, threading, time
from pathlib import Path
import initbench as ib

def sockets(pid):
    for file in Path(f"/proc/{pid}/fd").iterdir():
        try:
            yield os.readlink(file)
        except OSError:
            pass

def trains(pid):
    try:
        return b"initbench.training.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False

listening, children = set(), set()
def watch():
    while True:
        ports = [line.split() for name in ("tcp", "tcp6") for line in open(f"/proc/net/{name}")]
        open_ports = {f"socket:[{port[9]}]" for port in ports if port[3] == "0A"}
        pids = [pid for file in Path("/proc/self/task").glob("*/children") for pid in file.read_text().split()]
        pids = [pid for pid in pids if trains(pid)]
        children.update(pids)
        for pid in [os.getpid(), *pids]:
            try:
                listening.update(open_ports.intersection(sockets(pid)))
            except OSError:
                pass
        time.sleep(0.05)

threading.Thread(target=watch, daemon=True).start()
frame = ib.run(sys.argv[1], results=sys.argv[2], scheduler="local", workers=2, width=2).frame
print(len(children), "children", len(listening), "listening")
"""


@pytest.mark.slow
def test_a_cluster_of_this_machine_listens_to_no_port_and_needs_no_guard(grid_file, trained_here, tmp_path):
    """Also where Dask's configuration asks for encryption, which concerns connections between processes."""
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, str(tmp_path / "script.py"), str(grid_file), str(tmp_path)],
        env={**os.environ, "DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION": "true"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "2 children 0 listening\n"
    same_and_once(tmp_path / "spread", trained_here)


@pytest.mark.slow
def test_a_cluster_of_this_machine_replaces_what_is_killed_and_ends_at_ctrl_c(grid_file, trained_here, tmp_path):
    arguments = ["run", str(grid_file), "--results", str(tmp_path), "--width", "2", "--workers", "1"]
    program = "import sys; from initbench.cli import main; sys.exit(main())"
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    running = subprocess.Popen([sys.executable, "-c", program, *arguments, "--scheduler", "local"], **streams)
    until(lambda: parts(tmp_path / "spread"))
    (first,) = trainers(running.pid)
    os.kill(first, signal.SIGKILL)
    (second,) = until(lambda: [pid for pid in trainers(running.pid) if pid != first])
    done = parts(tmp_path / "spread")
    until(lambda: parts(tmp_path / "spread") > done)
    running.send_signal(signal.SIGINT)
    out, _ = ended(running, status=130)
    assert "its stack is tried again" in out
    assert "Resume with: initbench run" in out
    assert parts(tmp_path / "spread") < parts(trained_here[0])  # they are named by their bytes
    until(lambda: not Path(f"/proc/{second}").exists(), event="the end of what trained")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["built-in", "plugin"])
def test_workers_that_are_killed_again_and_again_lose_no_cell(kind, cluster, request, tmp_path):
    """A worker is killed, whole, in the middle of a stack, and another one joins; three times."""
    own = kind == "plugin"
    grid_file, here = map(request.getfixturevalue, ("own_grid", "own_here") if own else ("grid_file", "here"))
    patch = WITH_LEAVE if own else ""
    cluster.add("0", patch=patch)
    running = command(grid_file, tmp_path, cluster, *["--allow-plugins"] * own)
    for number in range(3):
        until(lambda name=str(number): cluster.training(name), event="a stack that trains")
        done = len(parts(tmp_path / "spread"))
        cluster.add(str(number + 1), patch=patch)
        if number:
            until(lambda most=done: len(parts(tmp_path / "spread")) > most or running.poll() is not None)
        cluster.signal(str(number))
    out, _ = ended(running)
    assert out.count(") left") == 3
    same_and_once(tmp_path / "spread", here)


@pytest.mark.slow
def test_a_process_that_is_killed_or_stands_still_is_replaced_on_its_worker(cluster, grid_file, here, tmp_path):
    short = "import initbench.execution.processes as p; p.SILENCE = 4.0"
    cluster.add("one", patch=short)
    running = command(grid_file, tmp_path, cluster)
    (first,) = until(lambda: cluster.training("one"))
    until(lambda: parts(tmp_path / "spread"))
    os.kill(first, signal.SIGKILL)
    (second,) = until(lambda: [pid for pid in cluster.training("one") if pid != first])
    done = len(parts(tmp_path / "spread"))
    until(lambda: len(parts(tmp_path / "spread")) > done)
    os.kill(second, signal.SIGSTOP)
    ended(running)
    assert second not in cluster.training("one")
    same_and_once(tmp_path / "spread", here)


@pytest.mark.slow
def test_a_worker_that_hangs_is_abandoned(tmp_path, own_grid, own_here):
    with DaskCluster(tmp_path / "dask", seconds=0.4, scheduler__worker_ttl="4s") as cluster:
        cluster.add("hangs", patch=WITH_LEAVE)
        running = command(own_grid, tmp_path, cluster, "--allow-plugins")
        until(lambda: parts(tmp_path / "spread"))
        os.kill(cluster.workers["hangs"].pid, signal.SIGSTOP)
        cluster.add("goes", patch=WITH_LEAVE)
        out, _ = ended(running)
        assert ") left" in out
        assert " joined" in out
        same_and_once(tmp_path / "spread", own_here)


@pytest.mark.slow
def test_workers_leave_and_join(own_grid, own_here, tmp_path):
    """Each stack takes so long that the first worker cannot train all before the second is there."""
    with DaskCluster(tmp_path / "dask", seconds=2) as cluster:
        running = command(own_grid, tmp_path, cluster, "--allow-plugins")
        assert "has no workers yet; waiting for the first" in "".join(running.stdout.readline() for _ in range(3))
        cluster.add("early", patch=WITH_LEAVE)
        until(lambda: parts(tmp_path / "spread"))
        cluster.add("late", patch=WITH_LEAVE)
        until(lambda: cluster.training("late"))
        os.kill(cluster.workers["early"].pid, signal.SIGTERM)
        out, _ = ended(running)
    assert out.count(" joined") >= 1
    assert out.count(") left") == 1
    same_and_once(tmp_path / "spread", own_here)


OTHER_VERSION = "import initbench; initbench.__version__ = '0.0.9'"
NO_INITBENCH = "import sys; sys.modules['initbench'] = None"


@pytest.mark.slow
def test_a_worker_of_another_version_is_refused_by_name(cluster, grid_file, here, tmp_path):
    cluster.add("old", patch=OTHER_VERSION)
    cluster.add("none", patch=NO_INITBENCH)
    until(lambda: "Registered to" in cluster.log("old") and "Registered to" in cluster.log("none"))
    _, err = ended(command(grid_file, tmp_path, cluster), status=2)
    assert "none of its workers can be used" in err
    assert "it has initbench 0.0.9 (training version" in err
    assert "it has no initbench" in err
    cluster.add("right")
    until(lambda: "Registered to" in cluster.log("right"))
    out, _ = ended(command(grid_file, tmp_path, cluster))
    assert out.count("is refused: it has") == 2
    assert cluster.training("old") == []
    same_and_once(tmp_path / "spread", here)


OTHER_PROCESSOR = """
from initbench.system import hardware
hardware.cpu_name = lambda: "Other Processor 9000"
"""


@pytest.mark.slow
def test_different_processors_are_reported_and_one_can_be_selected(cluster, grid_file, here, tmp_path):
    cluster.add("other", patch=OTHER_PROCESSOR)
    cluster.add("usual")
    until(lambda: "Registered to" in cluster.log("other") and "Registered to" in cluster.log("usual"))
    out, _ = ended(command(grid_file, tmp_path, cluster))
    assert "1 on Other Processor 9000" in out
    assert "agree to rounding, but not bit for bit; --processor NAME uses one kind only" in out
    out, _ = ended(command(grid_file, tmp_path / "one", cluster, "--processor", "other processor"))
    assert "1 stack at a time: 1 on Other Processor 9000" in out
    assert "is refused: its processor is" in out
    assert "agree to rounding" not in out


POISON = """
import os, signal, time
from initbench.execution.cluster import dask_worker
plain = dask_worker.serve
def serve(task, *rest):
    if any("normal(std=0.2)" in cell and "relu" in cell and cell[-1] == 3 for cell in task["cells"]):
        os.killpg(os.getpid(), signal.SIGKILL)
    return plain(task, *rest)
dask_worker.serve = serve
"""


@pytest.mark.slow
def test_a_cell_that_kills_its_workers_is_reported_and_the_others_are_trained(tmp_path, grid_file, here):
    cluster = DaskCluster(tmp_path / "dask", seconds=0, scheduler__allowed_failures=1)
    stop = threading.Event()

    def replace():
        number = 0
        while not stop.wait(0.2):
            if all(process.poll() is not None for process in cluster.workers.values()):
                cluster.add(f"worker-{number}", patch=POISON)
                number += 1

    threading.Thread(target=replace, daemon=True).start()
    try:
        out, err = ended(command(grid_file, tmp_path, cluster), status=1)
    finally:
        stop.set()
        cluster.close()
    (line,) = [line for line in out.splitlines() if line.startswith("not trained: ")]
    assert "normal(std=0.2), relu, no hidden layer, mse, sgd at 0.1, seed 3" in line
    assert "1 cell could not be trained" in err
    assert (
        len(cluster.workers) == 2 + 2 + 1
    )  # one more than is allowed with the stack, and with the cell; the last lives
    frame = ib.load(tmp_path / "spread")
    poisoned = (
        (here[1]["initializer"] == "normal(std=0.2)") & (here[1]["activation"] == "relu") & (here[1]["seed"] == 3)
    )
    pd.testing.assert_frame_equal(frame, here[1][~poisoned].reset_index(drop=True), check_exact=True)
    frame = made_up_here(grid_file, results=tmp_path)  # without the poison
    pd.testing.assert_frame_equal(frame, here[1], check_exact=True)


@pytest.mark.slow
def test_a_client_that_dies_leaves_the_cluster_free_and_goes_on(cluster, own_grid, own_here, tmp_path):
    cluster.add("one", patch=WITH_LEAVE)
    running = command(own_grid, tmp_path, cluster, "--allow-plugins")
    until(lambda: len(parts(tmp_path / "spread")) > 1)
    running.kill()
    running.communicate()
    earlier_parts = parts(tmp_path / "spread")
    trained = pd.read_parquet(tmp_path / "spread" / "parts")["cell"].nunique()
    out, _ = ended(command(own_grid, tmp_path, cluster, "--allow-plugins"))
    assert f"{16 - trained} cells to train, {trained} are trained already" in out
    assert earlier_parts < parts(tmp_path / "spread")
    same_and_once(tmp_path / "spread", own_here)


@pytest.mark.slow
def test_a_scheduler_that_dies_is_reported_and_finished_stacks_are_kept(cluster, own_grid, own_here, tmp_path):
    cluster.add("one", patch=WITH_LEAVE)
    short = "from initbench.execution.cluster import roster; roster.GONE_SECONDS = 2.0; "
    short += "from initbench.cli import main; main()"
    arguments = [
        "run",
        str(own_grid),
        "--allow-plugins",
        "--width",
        "2",
        "--results",
        str(tmp_path),
        "--scheduler",
        cluster.address,
    ]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    running = subprocess.Popen([sys.executable, "-c", short, *arguments], env=cluster.environment, **streams)
    until(lambda: len(parts(tmp_path / "spread")) > 1)
    os.killpg(cluster.scheduler.pid, signal.SIGKILL)
    _, err = ended(running, status=1)
    assert "Stopped: the scheduler cannot be reached any more" in err
    assert "Resume with: initbench run" in err
    frame = made_up_here(own_grid, results=tmp_path, allow_plugins=True)
    pd.testing.assert_frame_equal(frame, own_here[1], check_exact=True)


LACKS_THE_DATA = """
from initbench.execution.cluster import dask_worker
dask_worker._has = lambda source: source.name in dask_worker._data
plain = dask_worker._write
def write(name, *rest):
    print("received", name, flush=True)
    plain(name, *rest)
dask_worker._write = write
"""


@pytest.mark.filterwarnings("ignore:.*does not separate learning from chance")  # of so few images
@pytest.mark.slow
@pytest.mark.parametrize("trains", [False, True])
def test_a_data_set_goes_to_a_worker_once(request, grid_file, tmp_path, trains):
    cluster = request.getfixturevalue("real_cluster" if trains else "cluster")
    write_folder(tmp_path / "tiny", images=2400, labels=2400)
    cluster.add("one", patch=LACKS_THE_DATA, threads=2)
    cluster.add("two", patch=LACKS_THE_DATA)
    overrides = {"dataset": {"idx": str(tmp_path / "tiny")}, "train_size": 2000, "batch_size": 20, "hidden": [[5]]}
    settings = {"results": tmp_path / "spread", "overrides": overrides}
    frame = ib.run(grid_file, scheduler=cluster.address, width=2, **settings).frame
    for name in ("one", "two"):
        assert cluster.log(name).count("received tiny@") == 1
    more = settings | {"overrides": overrides | {"seed": 8}}
    again = ib.run(grid_file, scheduler=cluster.address, width=2, **more).frame
    for name in ("one", "two"):
        assert cluster.log(name).count("received tiny@") == 1
    settings["results"] = tmp_path / "here"
    expected = (
        ib.run(grid_file, workers=2, width=2, **settings).frame if trains else made_up_here(grid_file, **settings)
    )
    pd.testing.assert_frame_equal(frame, expected, check_exact=True)
    assert again["seed"].nunique() == 8


GPU = """
from initbench.execution.cluster import dask_worker
dask_worker.device_for = lambda requested: "cuda"
dask_worker.gpu_memories = lambda: (600_000,)
dask_worker.WorkerProcess = lambda device, **rest: WorkerProcess("cpu", **rest)
from initbench.execution.processes import WorkerProcess
"""


@pytest.mark.slow
def test_a_worker_with_a_gpu_trains_one_stack_at_a_time_that_fits_its_memory(cluster, grid_file, here, tmp_path):
    """The GPU is simulated: this tests which worker gets which stack."""
    cluster.add("gpu", patch=GPU, threads=2)
    ib.run(grid_file, results=tmp_path, scheduler=cluster.address)
    timings = [json.loads(path.read_text()) for path in (tmp_path / "spread" / "timings").iterdir()]
    assert max(timing["workers"] for timing in timings) == 1
    from initbench.execution.plan import training_bytes
    from initbench.spec.grid import read

    grid = read(grid_file)
    bytes_each = training_bytes(next(grid.cells()), grid.sources["mnist"])
    assert max(timing["cells"] for timing in timings) == 600_000 / 2 // bytes_each == 2
    same_and_once(tmp_path / "spread", here)


@pytest.mark.parametrize(
    ("scheduler", "message"),
    [
        ("host:8786", r"allowed: tcp://HOST:PORT, file://scheduler.json, or local"),
        ("tcp://", r"allowed: tcp://HOST:PORT"),
        ("file:///nowhere/scheduler.json", "there is no such file"),
        ("tcp://127.0.0.1:9", r"cannot be reached \(Connection refused\); is it running\?"),
        ("tcp://127.0.0.1:99999", r"cannot be reached \(Port out of range 0-65535\)"),
        ("", "allowed: tcp://HOST:PORT"),
    ],
)
def test_a_scheduler_that_is_none_is_refused(grid_file, tmp_path, monkeypatch, scheduler, message):
    monkeypatch.setattr("initbench.execution.cluster.connection.CONNECT_SECONDS", 2.0)
    with pytest.raises(UserError, match=message):
        ib.run(grid_file, results=tmp_path, scheduler=scheduler)
    assert list(tmp_path.iterdir()) == []


def test_a_processor_without_a_scheduler_and_a_missing_dask_are_reported(grid_file, tmp_path, monkeypatch):
    with pytest.raises(UserError, match="give its scheduler too"):
        ib.run(grid_file, results=tmp_path, processor="EPYC")
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(UserError, match=r"pip install 'initbench\[cluster\]'$"):
        ib.run(grid_file, results=tmp_path, scheduler="local")


@pytest.mark.slow
def test_nothing_is_warned_of_on_the_way(cluster, grid_file, here, tmp_path):
    cluster.add("one")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        frame = ib.run(grid_file, results=tmp_path, scheduler=cluster.address, overrides={"seed": 1}).frame
    expected = here[1][here[1]["seed"] == 0].reset_index(drop=True)
    pd.testing.assert_frame_equal(frame, expected, check_exact=True)


@pytest.mark.slow
def test_a_cluster_that_grows_with_its_work_gets_workers(grid_file, trained_here, tmp_path):
    """From none to its maximum; and no placeholder task remains."""
    import distributed

    settings = {"processes": True, "threads_per_worker": 1, "dashboard_address": None}
    with distributed.LocalCluster(n_workers=0, **settings) as grows:
        grows.adapt(minimum=0, maximum=2, interval="200ms", target_duration="500ms")
        most = []
        watching = threading.Event()

        def watch():
            while not watching.wait(0.05):
                most.append(len(grows.scheduler.workers))

        threading.Thread(target=watch, daemon=True).start()
        frame = ib.run(grid_file, results=tmp_path, scheduler=grows.scheduler_address, width=2).frame
        watching.set()
        assert max(most) == 2
        until(lambda: not grows.scheduler.tasks, event="the end of the placeholder tasks")
    pd.testing.assert_frame_equal(frame, trained_here[1], check_exact=True)


CANNOT_START = """
from initbench.execution.cluster import dask_worker
from initbench.errors import WorkerDied
def cannot(*given, **more):
    raise WorkerDied("a worker cannot be started: no space left")
dask_worker.WorkerProcess = cannot
"""
RAISES = """
from initbench.execution.cluster import dask_worker
def serve(task, *rest):
    reply = {"event": "failed", "task": task["task"], "why": "RuntimeError: CUDA error", "memory": False}
    return {"reply": reply, "environment": {"processor": "sick"}, "host": "sick"}
dask_worker.serve = serve
"""


@pytest.mark.parametrize(
    ("sickness", "message"),
    [(RAISES, "24 of 24"), (CANNOT_START, "its processes do not start")],
)
@pytest.mark.slow
def test_a_sick_worker_beside_a_good_one_fails_no_cell(cluster, grid_file, here, tmp_path, sickness, message):
    cluster.add("sick", patch=sickness)
    cluster.add("good")
    until(lambda: "Registered to" in cluster.log("sick") and "Registered to" in cluster.log("good"))
    out, _ = ended(command(grid_file, tmp_path, cluster))
    assert message in out
    assert "not trained: " not in out
    same_and_once(tmp_path / "spread", here)


@pytest.mark.slow
def test_where_no_worker_can_train_the_run_stops(cluster, grid_file, tmp_path):
    cluster.add("sick", patch=CANNOT_START)
    _, err = ended(command(grid_file, tmp_path, cluster), status=1)
    assert "none of the cluster's workers can be used any more" in err


@pytest.mark.slow
def test_a_client_that_ends_takes_nothing_from_another_one(cluster, grid_file, here, tmp_path):
    cluster.add("one")
    first = command(grid_file, tmp_path / "first", cluster)
    until(lambda: parts(tmp_path / "first" / "spread"))
    ended(command(grid_file, tmp_path / "second", cluster, "--set", "seed=1"))
    ended(first)
    same_and_once(tmp_path / "first" / "spread", here)
    assert "Compute Failed" not in cluster.log("one")


@pytest.mark.slow
def test_ctrl_c_ends_a_run_whose_worker_stands_still(cluster, grid_file, tmp_path):
    cluster.add("one")
    running = command(grid_file, tmp_path, cluster)
    until(lambda: cluster.training("one"))
    os.kill(cluster.workers["one"].pid, signal.SIGSTOP)
    running.send_signal(signal.SIGINT)
    out, _ = ended(running, status=130)
    assert "Resume with: initbench run" in out


TELLS_ITS_WIDTH = """
from initbench.execution.cluster import dask_worker
def serve(task, *rest):
    width = len(task["cells"])
    reply = {"event": "done", "task": task["task"], "speed": {"step": width, "evaluation": 0.0, "start": 0.0}}
    return {"reply": reply, "environment": {}, "host": ""}
dask_worker.serve = serve
"""


@pytest.mark.slow
def test_no_task_gets_the_answer_of_an_earlier_one(cluster, grid_file):
    from initbench.execution.cluster.dispatch import ClusterPool
    from initbench.execution.plan import Stack
    from initbench.execution.scheduling import measure_speeds
    from initbench.spec.grid import read

    cluster.add("one", patch=TELLS_ITS_WIDTH)
    grid = read(grid_file)
    cells = tuple(cell for cell in grid.cells() if cell.seed == 0)
    with ClusterPool(cluster.address, "cpu", grid.sources) as pool:
        for turn in range(100):
            width = 1 + turn % 3
            (speed,) = measure_speeds(pool, [Stack(cells[:width], grid.sources["mnist"])])
            assert speed.step == width


# ---------------------------------------------------------------------------------------------------------------------
# Plugins


@pytest.mark.slow
def test_plugins_train_only_on_workers_that_were_started_with_leave(cluster, grid_file, own_grid, here, tmp_path):
    cluster.add("without")
    until(lambda: "Registered to" in cluster.log("without"))
    _, err = ended(command(own_grid, tmp_path, cluster, "--allow-plugins"), status=2)
    refusal = (
        "is refused: it may not run plugins, which this grid has; to allow it, start it with INITBENCH_ALLOW_PLUGINS"
    )
    assert "none of its workers can be used" in err
    assert refusal in err
    ended(command(grid_file, tmp_path, cluster))
    same_and_once(tmp_path / "spread", here)
    cluster.add("with", patch=WITH_LEAVE)
    until(lambda: "Registered to" in cluster.log("with"))
    out, _ = ended(command(own_grid, tmp_path / "own", cluster, "--allow-plugins"))
    assert out.count(refusal) == 1
    assert "1 stack at a time" in out
    assert pd.read_parquet(tmp_path / "own" / "spread" / "parts")["cell"].nunique() == 16


@pytest.mark.slow
def test_plugins_train_on_a_cluster_to_the_bits_of_one_machine(real_cluster, experiments, tmp_path):
    """Also where a process is killed while it trains."""
    cluster = real_cluster
    cluster.add("one", patch=WITH_LEAVE, threads=2)
    running = command(small_grid(tmp_path), tmp_path / "results", cluster, "--allow-plugins")
    until(lambda: parts(tmp_path / "results" / "small"))
    os.kill(cluster.training("one")[0], signal.SIGKILL)
    ended(running)
    same_and_once(tmp_path / "results" / "small", experiments("plugin"))


def test_a_worker_without_leave_starts_no_process_for_a_plugin(monkeypatch):
    """Also if it was not prepared for one."""
    from initbench.execution.cluster import dask_worker

    class Worker:
        address = "tcp://127.0.0.1:1234"

        def get_current_task(self):
            return "a key"

    monkeypatch.delenv(dask_worker.PERMISSION, raising=False)
    monkeypatch.setattr("distributed.get_worker", Worker)
    monkeypatch.setattr(dask_worker, "WorkerProcess", pytest.fail)
    request = {"task": 3, "cells": [], "source": {}, "plugins": [{}]}
    reply = dask_worker.serve(request, "cpu", "a client", "a topic", 1.0)["reply"]
    assert (reply["event"], reply["task"], reply["memory"]) == ("failed", 3, False)
    assert reply["why"].startswith("worker tcp://127.0.0.1:1234: it may not run plugins")
    Worker.address = "inproc://127.0.0.1/1/2"  # of this process, whose user has given permission
    with pytest.raises(KeyError):  # it goes on, with a request that has no data set
        dask_worker.serve(request, "cpu", "a client", "a topic", 1.0)

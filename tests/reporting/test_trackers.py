"""Runs in experiment trackers, read back with each tracker's own reader and held against the tidy table."""

import json
import math
import os
import socket
import struct
import subprocess
import sys
import threading
import zlib
from collections import Counter
from types import ModuleType

import numpy as np
import pytest
import untrusted
from command import ended

import initbench as ib
from initbench import stats
from initbench.api import outputs
from initbench.errors import UserError
from initbench.reporting.trackers import clients
from initbench.spec.columns import METRICS, SETTINGS

TRACKERS = outputs.TRACKERS


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An experiment of 18 cells in six configurations, with runs that diverged."""
    return untrusted.made_run(tmp_path_factory.mktemp("tracked"))


@pytest.fixture(scope="module")
def frame(folder):
    return ib.load(folder)


@pytest.fixture(scope="module")
def scalars(folder):
    """The scalars of the signal that have a value, by cell."""
    table = stats.signal_scalars(ib.load_signal(folder)).set_index("cell")
    return {
        cell: {f"signal/{name}": v for name, v in row.items() if not math.isnan(v)} for cell, row in table.iterrows()
    }


@pytest.fixture
def outside(tmp_path, monkeypatch):
    """A working directory with no settings of trackers."""
    for name in [*filter(lambda name: name.startswith(("WANDB", "MLFLOW")), os.environ)]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def exported(capsys, folder, tracker, *options):
    """The lines of a successful export."""
    status, out, errors = ended(None, capsys, "export", folder, "--to", tracker, *options)
    assert (status, errors) == (0, "")
    return out.splitlines()


def histories(frame):
    """For each cell its metrics [epoch, metric], without the training loss before training."""
    return {
        cell: {
            (int(r["epoch"]), m): r[m] for _, r in rows.iterrows() for m in METRICS if r["epoch"] or m != "train_loss"
        }
        for cell, rows in frame.groupby("cell", sort=False)
    }


def same(history, expected, kind=float):
    """Whether two histories are the same, NaN at the same places, as numbers of a kind."""
    assert history.keys() == expected.keys()
    np.testing.assert_array_equal(
        np.array([history[key] for key in expected], kind), np.array([*expected.values()]).astype(kind)
    )


def is_one_group(groups, frame):
    """Whether runs have the same group exactly where all settings but the seed are the same."""
    settings = [name for name in SETTINGS if name != "seed"]
    by_cell = frame.drop_duplicates("cell").set_index("cell")[settings].apply(tuple, axis=1)
    pairs = {(groups[cell], configuration) for cell, configuration in by_cell.items()}
    assert len(pairs) == len({group for group, _ in pairs}) == len({configuration for _, configuration in pairs}) == 6


def test_the_experiment_has_runs_that_diverged_and_values_of_the_signal_that_are_missing(frame, scalars):
    assert 0 < frame[frame["status"] == "diverged"]["cell"].nunique() < frame["cell"].nunique() == 18
    assert 0 == min(map(len, scalars.values())) < max(map(len, scalars.values())) == 4


# TensorBoard


def accumulated(path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    accumulator = EventAccumulator(str(path), size_guidance={"scalars": 0, "tensors": 0})
    accumulator.Reload()
    return accumulator


def scalars_in(accumulator):
    """The values of an event file by step and tag."""
    from tensorboard.util import tensor_util

    return {
        (event.step, tag): tensor_util.make_ndarray(event.tensor_proto).item()
        for tag in accumulator.Tags()["tensors"]
        if accumulator.SummaryMetadata(tag).plugin_data.plugin_name == "scalars"
        for event in accumulator.Tensors(tag)
    }


@pytest.mark.slow
def test_tensorboard_reads_the_metrics_of_every_run_by_epoch_with_its_settings(folder, frame, scalars, outside, capsys):
    pytest.importorskip("tensorboard")
    from tensorboard.plugins.hparams import metadata
    from tensorboard.util import tensor_util

    lines = exported(capsys, folder, "tensorboard")
    assert lines == ["View: tensorboard --logdir runs", "18 runs in 6 groups written to runs/made"]
    paths = sorted(outside.glob("runs/made/*/seed */events*"))
    assert len(paths) == 18
    expected, groups, session_groups = histories(frame), {}, {}
    for path in paths:
        accumulator = accumulated(path.parent)
        (text,) = accumulator.Tensors(
            "cell/text_summary" if "cell/text_summary" in accumulator.Tags()["tensors"] else "cell"
        )
        rows = dict(
            line.strip("| ").replace("`", "").split(" | ")
            if line.count("|") == 3 and not line.endswith("| `` |")
            else (line.strip("| ").split(" ")[0], "")
            for line in tensor_util.make_ndarray(text.tensor_proto).item().decode().splitlines()[2:]
        )
        cell = rows["cell"]
        values = scalars_in(accumulator)
        same({key: v for key, v in values.items() if "/" not in key[1]}, expected[cell], np.float32)
        same({name: v for (_, name), v in values.items() if "/" in name}, scalars[cell], np.float32)
        row = frame[frame["cell"] == cell].iloc[-1]
        assert {name: rows[name] for name in SETTINGS} == {name: str(row[name]) for name in SETTINGS}
        assert (rows["experiment"], rows["initbench"]) == ("made", ib.__version__)
        start = metadata.parse_session_start_info_plugin_data(
            accumulator.SummaryMetadata(metadata.SESSION_START_INFO_TAG).plugin_data.content
        )
        assert set(start.hparams) == set(SETTINGS) - {"seed"}
        end = metadata.parse_session_end_info_plugin_data(
            accumulator.SummaryMetadata(metadata.SESSION_END_INFO_TAG).plugin_data.content
        )
        assert end.status == {"trained": 1, "diverged": 2}[row["status"]]
        groups[cell], session_groups[cell] = path.parent.parent.name, start.group_name
    assert groups.keys() == expected.keys()
    is_one_group(groups, frame)
    is_one_group(session_groups, frame)


@pytest.mark.slow
def test_tensorboard_runs_that_are_there_stay_and_those_that_are_missing_are_written(folder, outside, capsys):
    pytest.importorskip("tensorboard")
    exported(capsys, folder, "tensorboard", "--into", "logs", "--project", "mine")
    first, *others = sorted(outside.glob("logs/mine/*/*/events*"))
    times = {path: path.stat().st_mtime_ns for path in others}
    first.unlink()
    last = exported(capsys, folder, "tensorboard", "--into", "logs", "--project", "mine")[-1]
    assert last == "1 run in 6 groups written to logs/mine; 17 runs were there (--force writes them again)"
    assert first.exists()
    assert {path: path.stat().st_mtime_ns for path in others} == times
    last = exported(capsys, folder, "tensorboard", "--into", "logs", "--project", "mine", "--force")[-1]
    assert last == "18 runs in 6 groups written to logs/mine"
    assert len([*outside.glob("logs/mine/*/*/*")]) == 18


# MLflow


def mlflow_runs(uri, project="made"):
    """The client, and all runs of an experiment of MLflow."""
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    return client, list(client.search_runs([client.get_experiment_by_name(project).experiment_id], max_results=1000))


@pytest.fixture
def file_store(outside, monkeypatch):
    """The address of a file store of MLflow."""
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (outside / "store").as_uri())
    return (outside / "store").as_uri()


@pytest.mark.slow
def test_mlflow_reads_the_metrics_of_every_run_by_epoch_with_its_settings(folder, frame, scalars, file_store, capsys):
    lines = exported(capsys, folder, "mlflow")
    assert lines[-1] == f"18 runs in 6 groups written to {file_store}"
    client, runs = mlflow_runs(file_store)
    assert len(runs) == 18 + 6
    assert {run.info.status for run in runs} == {"FINISHED"}
    parents = {run.info.run_id: run for run in runs if "initbench.cell" not in run.data.tags}
    expected, groups = histories(frame), {}
    for run in (run for run in runs if run.info.run_id not in parents):
        cell = run.data.tags["initbench.cell"]
        history = {
            (metric.step, name): metric.value
            for name in run.data.metrics
            for metric in client.get_metric_history(run.info.run_id, name)
        }
        same({key: v for key, v in history.items() if "/" not in key[1]}, expected[cell])
        same({name: v for (_, name), v in history.items() if "/" in name}, scalars[cell])
        row = frame[frame["cell"] == cell].iloc[-1]
        assert run.data.params == {"cell": cell, **{name: str(row[name]) for name in SETTINGS}}
        tags = {"experiment": "made", "initbench": ib.__version__, "status": row["status"]}
        assert {name: run.data.tags[f"initbench.{name}"] for name in tags} == tags
        groups[cell] = run.data.tags["mlflow.parentRunId"]
        shared = {name: value for name, value in run.data.params.items() if name not in ("cell", "seed")}
        assert parents[groups[cell]].data.params == shared
    assert groups.keys() == expected.keys()
    is_one_group(groups, frame)


@pytest.mark.slow
@pytest.mark.parametrize("last_call", [9, 11], ids=["at a configuration", "at a run"])
def test_an_interrupted_export_to_mlflow_is_completed_by_the_next_one(
    last_call, folder, frame, file_store, capsys, monkeypatch
):
    from mlflow import MlflowClient

    calls, terminate = iter(range(1, last_call)), MlflowClient.set_terminated
    each_once = {None: 6, **dict.fromkeys(frame["cell"], 1)}

    def interrupted(*arguments, **options):
        if next(calls, None) is None:
            raise KeyboardInterrupt
        return terminate(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "set_terminated", interrupted)
        assert ended(None, capsys, "export", folder, "--to", "mlflow")[0] != 0
    assert Counter(run.info.status for run in mlflow_runs(file_store)[1]) == {"FINISHED": last_call - 1, "RUNNING": 1}
    there = 6 if last_call == 9 else 7
    for options, written in (([], 18 - there), ([], 0), (["--force"], 18)):
        last = exported(capsys, folder, "mlflow", *options)[-1]
        assert last.startswith(f"{written} runs in 6 groups written to {file_store}")
        assert ("were there" in last) == (written < 18)
        runs = mlflow_runs(file_store)[1]
        assert Counter(run.data.tags.get("initbench.cell") for run in runs) == each_once
        assert {run.info.status for run in runs} == {"FINISHED"}


# Weights & Biases


def records_of(path):
    """The records of an offline run's file: LevelDB's log format, with the client's protocol buffers."""
    from wandb.proto import wandb_internal_pb2

    content, position, data = path.read_bytes(), 7, b""
    assert content[:4] == b":W&B"
    while position < len(content):
        left = 32768 - position % 32768
        if left < 7:  # the rest of a block that no header fits into
            position += left
            continue
        checksum, length, kind = struct.unpack_from("<IHB", content, position)  # whole, or first, middle and last
        piece = content[position + 7 : position + 7 + length]
        assert checksum == zlib.crc32(piece, zlib.crc32(bytes([kind])))
        position += 7 + length
        data += piece
        if kind in (1, 4):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(data)
            yield record
            data = b""


def wandb_run(path):
    """The settings, the history and the summary of an offline run."""
    run, history, summary, ends = None, {}, {}, 0
    for record in records_of(path):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            run = record.run
        elif kind == "history":
            items = {item.key or item.nested_key[0]: json.loads(item.value_json) for item in record.history.item}
            history |= {(items["epoch"], name): float(v) for name, v in items.items() if name in METRICS}
        elif kind == "summary":
            summary |= {
                item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.summary.update
            }
        ends += kind == "exit"
    assert ends == 1
    return run, history, summary


@pytest.mark.slow
def test_wandb_reads_the_metrics_of_every_run_by_epoch_with_its_settings(folder, frame, scalars, outside, capsys):
    pytest.importorskip("wandb")
    lines = exported(capsys, folder, "wandb")
    assert lines == ["Upload: wandb sync wandb/made/offline-run-*", "18 runs in 6 groups written to wandb/made"]
    assert {path.name.partition("-")[0] for path in (outside / "wandb" / "made").iterdir()} == {"offline"}
    expected, groups = histories(frame), {}
    for path in outside.glob("wandb/made/offline-run-*/run-*.wandb"):
        run, history, summary = wandb_run(path)
        cell = run.run_id
        same(history, expected[cell])
        same({name: float(v) for name, v in summary.items() if "signal/" in name}, scalars[cell])
        row = frame[frame["cell"] == cell].iloc[-1]
        config = {item.key: json.loads(item.value_json) for item in run.config.update if item.key != "_wandb"}
        settings = {name: row[name] for name in SETTINGS}
        assert config == {"cell": cell, "experiment": "made", "initbench": ib.__version__, **settings}
        assert summary["status"] == row["status"]
        assert set(run.tags) == {"experiment made", f"initbench {ib.__version__}", row["status"]}
        assert run.project == "made"
        groups[cell] = run.run_group
    assert groups.keys() == expected.keys()
    is_one_group(groups, frame)


@pytest.mark.slow
def test_an_interrupted_export_to_wandb_leaves_whole_runs_alone_and_is_completed_by_the_next_one(
    folder, frame, outside, capsys, monkeypatch
):
    pytest.importorskip("wandb")
    from initbench.reporting.trackers import wandb

    calls, write_run = iter(range(5)), wandb._written

    def interrupted(*arguments):
        complete = write_run(*arguments)
        if next(calls, None) is None:
            raise KeyboardInterrupt
        return complete

    def cells():
        """The cells of the runs in the folder; each is whole."""
        return Counter(wandb_run(path)[0].run_id for path in outside.glob("wandb/made/*/*.wandb"))

    with monkeypatch.context() as patch:
        patch.setattr(wandb, "_written", interrupted)
        assert ended(None, capsys, "export", folder, "--to", "wandb")[0] != 0
    assert len([*outside.glob("wandb/made/*")]) == len(cells()) == 5
    before = {path: path.stat().st_mtime_ns for path in outside.glob("wandb/made/*")}
    last = exported(capsys, folder, "wandb")[-1]
    assert last == "13 runs in 6 groups written to wandb/made; 5 runs were there (--force writes them again)"
    assert before.items() <= {path: path.stat().st_mtime_ns for path in outside.glob("wandb/made/*")}.items()
    assert cells() == dict.fromkeys(frame["cell"], 1)
    other = exported(capsys, folder, "wandb", "--project", "other")[-1]
    assert other == "18 runs in 6 groups written to wandb/other"
    assert exported(capsys, folder, "wandb", "--force")[-1] == "18 runs in 6 groups written to wandb/made"
    assert cells() == dict.fromkeys(frame["cell"], 1)


def test_in_the_online_mode_runs_that_are_not_uploaded_are_uploaded(outside, monkeypatch):
    from initbench.reporting.trackers import wandb

    for name in ("offline-run-1-a", "offline-run-1-b", "offline-run-1-c"):
        (outside / name).mkdir()
    (outside / "offline-run-1-b" / "run-b.wandb.synced").touch()
    started, start = [], wandb.children.start

    def recorded(*arguments, **options):
        started.append(arguments)
        return start("-c", f"print('one'); print('No network.'); raise SystemExit({len(started) - 1})", **options)

    monkeypatch.setattr(wandb.children, "start", recorded)
    wandb.sync(outside)
    words = ("-m", "wandb", "sync", str(outside / "offline-run-1-a"), str(outside / "offline-run-1-c"))
    assert started == [words]
    with pytest.raises(UserError) as failure:
        wandb.sync(outside)
    assert failure.value.lines == (
        f"{outside}: the runs are written, but not uploaded: No network; upload: wandb sync {outside}/offline-run-*",
    )
    monkeypatch.setenv("WANDB_MODE", "online")
    assert wandb.mode() == "online"


# All of them


@pytest.fixture
def proxy():
    """A proxy that answers nothing: its address, and the list of those who connected."""
    server, visitors = socket.create_server(("127.0.0.1", 0)), []

    def listen():
        try:
            while True:
                connection, address = server.accept()
                visitors.append(address)
                connection.close()
        except OSError:
            pass

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.getsockname()[1]}", visitors
    server.close()


WATCHED = """
import sys
def heard(event, arguments):
    if event == "socket.getaddrinfo" and arguments[0] not in ("localhost", "127.0.0.1", None):
        print("ASKED", arguments, flush=True)
    if event == "socket.connect" and isinstance(arguments[1], tuple) and not arguments[1][0].startswith("127."):
        print("CONNECTED", arguments[1], flush=True)
sys.addaudithook(heard)
from initbench.cli import main
main()
"""


@pytest.mark.slow
@pytest.mark.parametrize("tracker", TRACKERS)
def test_an_export_connects_to_nothing(tracker, folder, outside, proxy):
    pytest.importorskip(tracker)
    address, visitors = proxy
    hidden = {"CI", "PYTEST_CURRENT_TEST", "GITHUB_ACTIONS"}  # in which MLflow sends no statistics anyway
    environment = {
        name: value for name, value in os.environ.items() if name not in hidden and "PROXY" not in name.upper()
    }
    environment |= dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), address)
    command = [sys.executable, "-c", WATCHED, "export", str(folder), "--to", tracker, "--into", "there"]
    ran = subprocess.run(command, cwd=outside, env=environment, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "ASKED" not in ran.stdout
    assert "CONNECTED" not in ran.stdout
    assert not visitors
    code = "import urllib.request; urllib.request.urlopen('https://example.org')"
    subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=False)
    assert visitors  # who connects is seen


@pytest.mark.parametrize("tracker", TRACKERS)
@pytest.mark.parametrize("is_folder", [False, True])
def test_a_missing_client_is_one_line_that_says_what_to_install(
    tracker, is_folder, folder, outside, capsys, monkeypatch
):
    def imported(name):
        if is_folder:  # such as W&B's own of runs, in the working directory
            return ModuleType(name)
        raise ModuleNotFoundError(f"No module named {name!r}", name=tracker)

    monkeypatch.setattr(clients, "import_module", imported)
    package = {"wandb": "wandb", "mlflow": "mlflow-skinny", "tensorboard": "tensorboard"}[tracker]
    message = f"--to {tracker} needs {package}: pip install 'initbench[{tracker}]'\n"
    assert ended(None, capsys, "export", folder, "--to", tracker) == (2, "", message)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--to", "wanb"], "--to 'wanb': allowed: wandb, mlflow, tensorboard; did you mean 'wandb'?"),
        (["x.csv", "--to", "mlflow"], "x.csv: not allowed with --to; allowed: --project, --into and --force"),
        (
            ["--to", "mlflow", "--table", "runs"],
            "--table: not allowed with --to; allowed: --project, --into and --force",
        ),
        ([], "no file is named; name one to write, such as runs.csv, or a tracker, such as --to mlflow"),
        (["x.csv", "--into", "there"], "--into: allowed: together with --to"),
        (["x.csv", "--project", "mine"], "--project: allowed: together with --to"),
        (
            ["--to", "tensorboard", "--project", "../mine"],
            "--project '../mine': allowed: up to 100 letters, digits, '.', '_' and '-', the first a letter or digit",
        ),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(arguments, message, folder, outside, capsys):
    assert ended(None, capsys, "export", folder, *arguments) == (2, "", f"{message}\n")
    assert not [*outside.iterdir()]


def test_without_a_trained_cell_or_a_mode_that_writes_nothing_is_written(outside, capsys, monkeypatch):
    from initbench.reporting.trackers import wandb
    from initbench.results.experiment import Experiment
    from initbench.spec import grid

    empty = Experiment.create(grid.parse(untrusted.GRID), outside).folder
    monkeypatch.setattr(outputs, "check_tracker", lambda *_: None)
    status, _, errors = ended(None, capsys, "export", empty, "--to", "tensorboard")
    assert (status, errors) == (2, f"{empty}: no cell is trained yet, so there is nothing to export; run it first\n")
    monkeypatch.setenv("WANDB_MODE", "disabled")
    with pytest.raises(UserError, match=r"WANDB_MODE = 'disabled': nothing would be written; allowed: offline"):
        wandb.mode()


def test_the_environment_is_as_before_after_an_export(monkeypatch):
    monkeypatch.setenv("WANDB_SILENT", "false")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "5")
    before = dict(os.environ)
    with clients.quiet():
        assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "5"
        assert os.environ["WANDB_ERROR_REPORTING"] == "false"
        assert os.environ["WANDB_SILENT"] == "true"
    assert dict(os.environ) == before

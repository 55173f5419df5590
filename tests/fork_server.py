"""A process that imports the packages of the commands once and forks for each command line.

    python -m tests.fork_server

Each line of standard input is a JSON object with module, arguments, folder (working directory), environment,
out and err (output files) and seconds (time limit). The answer is a line with the exit status, negative for a
signal. This saves the imports of matplotlib, Hydra and MLflow, which take longer than a small training run.
"""

import gc
import json
import os
import runpy
import signal
import sys
import traceback
from importlib import import_module

IMPORTED = (
    "hydra",
    "hydra._internal.hydra",
    "src.sweeps.hydra_callback",
    "src.cli.main",
    "src.cli.error_messages",
    "src.evaluation.evaluate",
    "src.runner",
    "src.plots.run",
    "src.tracking.run_store",
    "src.experiments.rerun",
    "src.tracking.mlflow_store",
    "src.config.constraints",
)


def run_child(request: dict[str, object]) -> int:
    """Run the command in this process and return its exit status."""
    gc.disable()  # the process is short-lived
    for name, number in (("out", 1), ("err", 2)):
        os.dup2(os.open(str(request[name]), os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.chdir(str(request["folder"]))
    environment = request["environment"]
    assert isinstance(environment, dict)
    os.environ.clear()
    os.environ.update(environment)
    signal.alarm(int(str(request["seconds"])))  # time limit, with its own exit status
    arguments = request["arguments"]
    assert isinstance(arguments, list)
    sys.argv = [str(request["module"]), *arguments]
    try:
        runpy.run_module(str(request["module"]), run_name="__main__", alter_sys=True)
    except SystemExit as error:
        if isinstance(error.code, str):
            print(error.code, file=sys.stderr)
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def warm_up() -> None:
    """Load Hydra's plugins and grammar once."""
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    from src.common.files import CONF
    from src.config.resolvers import register_configs

    register_configs()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        compose("config", ["hidden=1", "data.split=[1,2]", "prompt='a'"], return_hydra_config=True)
    GlobalHydra.instance().clear()
    gc.freeze()  # exclude existing objects from collections in children


def main() -> None:
    for name in IMPORTED:
        import_module(name)
    warm_up()
    print("ready", flush=True)
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            status = run_child(json.loads(line))
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


if __name__ == "__main__":
    main()

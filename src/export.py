"""`python -m src.export`: write the weights of a trained model in the format of another library."""

from typing import Any

from src.cli.main import Invocation, run_command
from src.common.console import echo_err


def main(config: Any, _: Invocation) -> None:
    """Write the model of a run to a file, and print the path of the file.

    Args:
        config: Validated config, a `src.config.schema.ExportConfig`.

    Raises:
        UserError: The run is unknown, its model cannot be loaded or converted, or the file cannot be written.
    """
    from src.common.files import absolute
    from src.models.torch_export import write_state_dict
    from src.tracking.run_store import open_attended_store

    store = open_attended_store(config)
    run = store.find(config.run)
    model = store.load_model(run)
    path = absolute(config.path or f"{config.output_dir}/exports/{run.run_id}.safetensors")
    {"torch": write_state_dict}[config.format](model, run.run_id, path)
    echo_err(run.describe(config.run))
    print(path)


if __name__ == "__main__":
    run_command("export", "export", main)

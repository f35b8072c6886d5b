"""Print the JSON Schema of a search space, or its keys as a table: ``python -m tuner.schema``."""

import json
from collections.abc import Sequence

from tuner import cli
from tuner.space import json_schema, keys_table


@cli.with_exit_status
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = cli.command_parser(
        "schema", "Print the JSON Schema of a search space, or its keys as a table."
    )
    parser.add_argument("--table", action="store_true", help="print the keys as a Markdown table")
    args = parser.parse_args(argv)
    print(keys_table() if args.table else json.dumps(json_schema(), indent=2))
    return cli.ExitStatus.DONE


if __name__ == "__main__":
    cli.end_with(main)

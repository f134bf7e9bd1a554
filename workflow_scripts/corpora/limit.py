"""Step `limit`: the budget of a source of several shards -> the limit of the keys in the sample of all of it.

python -m workflow_scripts.corpora.limit --keys SHARD.arrow... --characters 2000000000 --out SOURCE.limit.json
"""

from __future__ import annotations

import argparse
from pathlib import Path

from workflow_scripts.corpora.budget import sample_of
from workflow_scripts.corpora.inputs import described
from workflow_scripts.errors import one_message
from workflow_scripts.files import write_json


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Find what a budget takes.", fromfile_prefix_chars="@")
    parser.add_argument("--keys", required=True, type=Path, nargs="+", help="of each shard (Arrow), or @FILE of names")
    parser.add_argument("--characters", required=True, type=int, help="the budget")
    parser.add_argument("--out", required=True, type=Path, help="the limit (JSON)")
    arguments = parser.parse_args(argv)
    with one_message(str(arguments.out)):
        budget = sample_of(arguments.keys, arguments.characters)
        sizes = [characters for _, characters in budget.held]
        write_json(
            arguments.out,
            {
                "step": "limit",
                "limit": budget.limit,
                "documents": len(sizes),
                "characters": sum(sizes),
                "inputs": [described(path, path.parent) for path in arguments.keys],
            },
        )


if __name__ == "__main__":
    main()

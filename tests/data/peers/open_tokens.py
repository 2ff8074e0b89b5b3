"""Opens tokens/train.parquet in pyarrow, DuckDB, Polars, pandas and `datasets`, and checks that all read the same rows.

    python open_tokens.py tokens/train.parquet

Made with: pyarrow 26.0.1, duckdb 2.0.0, polars 2.1.0, pandas 3.1.1, datasets 5.2.0, Python 3.11. Prints one JSON document.
"""
import json
import os
import sys
import tempfile

os.environ.setdefault("HF_HUB_OFFLINE", "1")
import datasets
import duckdb
import pandas
import polars
import pyarrow.parquet

path = sys.argv[1]
columns = ["input_ids", "labels", "position_ids"]
expected = [tuple(row[column] for column in columns) for row in pyarrow.parquet.read_table(path, columns=columns).to_pylist()]
assert all(len(ids) == len(labels) == len(positions) for ids, labels, positions in expected)


def check(name, found):
    found = [tuple([int(number) for number in cell] for cell in row) for row in found]
    assert found == expected, f"{name} reads other rows"
    return len(found)


with tempfile.TemporaryDirectory() as cache:
    whole = datasets.Dataset.from_parquet(path, cache_dir=cache)
    report = {
        "duckdb": check("duckdb", duckdb.sql(f"select {', '.join(columns)} from read_parquet('{path}')").fetchall()),
        "polars": check("polars", polars.read_parquet(path).select(columns).rows()),
        "pandas": check("pandas", pandas.read_parquet(path)[columns].itertuples(index=False, name=None)),
        "datasets": check("datasets", ([row[column] for column in columns] for row in whole)),
        "columns": pyarrow.parquet.read_schema(path).names,
    }
print(json.dumps({"rows": len(expected), **report}))

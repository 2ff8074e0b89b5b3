"""Pipes examples through `retune-tokenize - --out -` from DuckDB, Polars, pandas and pyarrow, and checks the rows against
the folder that the same program writes.

    python streams.py target/release/retune-tokenize data/train.parquet MODEL

Each function below is a recipe: it hands a table to the program as an Arrow IPC stream and reads the rows back. `in_arrow` is
what PySpark's `mapInArrow` takes; here it runs over pyarrow's batches. Prints one JSON document.

Made with: pyarrow 26.0.1, duckdb 2.0.0, polars 2.1.0, pandas 3.1.1, Python 3.11.
"""
import io
import json
import subprocess
import sys
import tempfile

import duckdb
import pandas
import polars
import pyarrow
import pyarrow.ipc
import pyarrow.parquet

program, table, model = sys.argv[1:4]
command = [program, "-", "--model", model, "--out", "-", "--overflow", "split", "--rejects", tempfile.mkdtemp(), "-q"]


def piped(stream):
    """The rows for examples that are an Arrow IPC stream."""
    done = subprocess.run(command, input=stream, stdout=subprocess.PIPE, check=True)
    return pyarrow.ipc.open_stream(done.stdout).read_all()


def arrow_stream(batches, schema):
    sink = pyarrow.BufferOutputStream()
    with pyarrow.ipc.new_stream(sink, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return sink.getvalue().to_pybytes()


def from_pyarrow():
    examples = pyarrow.parquet.read_table(table)
    return piped(arrow_stream(examples.to_batches(), examples.schema))


def from_duckdb():
    found = duckdb.sql(f"select * from read_parquet('{table}')").to_arrow_table()
    rows = piped(arrow_stream(found.to_batches(), found.schema))
    duckdb.sql("select split, sum(len(input_ids)) from rows group by split").fetchall()
    return rows


def from_polars():
    sink = io.BytesIO()
    polars.read_parquet(table).write_ipc_stream(sink, compat_level=polars.CompatLevel.oldest())
    return polars.from_arrow(piped(sink.getvalue())).to_arrow()


def from_pandas():
    columns = ["id", "text", "source_file", "source_row"]
    frame = pandas.read_parquet(table, columns=columns)
    found = pyarrow.Table.from_pandas(frame, preserve_index=False)
    return piped(arrow_stream(found.to_batches(), found.schema))


def in_arrow(batches):
    """For `examples.mapInArrow(in_arrow, schema)`: each partition is a stream of its own."""
    batches = list(batches)
    if batches:
        yield from piped(arrow_stream(batches, batches[0].schema)).to_batches()


def from_batches():
    return pyarrow.Table.from_batches(in_arrow(pyarrow.parquet.read_table(table).to_batches()))


columns = ["input_ids", "labels", "position_ids", "char_start", "char_end"]
with tempfile.TemporaryDirectory() as folder:
    subprocess.run([program, table, "--model", model, "--out", folder, "--overflow", "split", "-q"], check=True)
    expected = pyarrow.parquet.read_table(f"{folder}/train.parquet", columns=columns).to_pydict()
report = {}
for recipe in [from_pyarrow, from_duckdb, from_polars, from_pandas, from_batches]:
    rows = recipe()
    assert {name: rows[name].to_pylist() for name in columns} == expected, f"{recipe.__name__} gives other rows"
    assert set(rows["split"].to_pylist()) == {"train"}
    report[recipe.__name__] = rows.num_rows
print(json.dumps(report))

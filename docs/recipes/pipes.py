"""Runs each recipe of docs/other-tools.md: retune-ingest between DuckDB, Polars, pandas and PySpark.

    python docs/recipes/pipes.py rows.jsonl        # retune-ingest must be on the PATH

Run with duckdb 2.0.1, polars 2.1.0, pandas 3.1.1, pyarrow 26.0.1 and pyspark; a tool that is not there is skipped by name.
"""
import importlib.util
import io
import subprocess
import sys
import tempfile


def ingest(*arguments, stdin=None):
    """Examples as an Arrow table; a run that fails raises, so that half a stream is never taken for a whole one."""
    import pyarrow.ipc as ipc

    done = subprocess.run(["retune-ingest", *arguments, "--out", "-", "--quiet"], input=stdin, stdout=subprocess.PIPE, check=True)
    return ipc.open_stream(done.stdout).read_all()


def stream(table):
    """A table as the bytes of an Arrow IPC stream."""
    import pyarrow.ipc as ipc

    sink = io.BytesIO()
    with ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def duckdb(path):
    import duckdb

    rows = duckdb.sql(f"SELECT * FROM read_json('{path}', format = 'newline_delimited')").to_arrow_table()
    examples = ingest("-", stdin=stream(rows))
    return duckdb.sql("SELECT split, count(*) AS rows FROM examples GROUP BY split ORDER BY split").fetchall()


def polars(path):
    import polars

    rows = polars.read_ndjson(path).to_arrow()
    examples = polars.from_arrow(ingest("-", stdin=stream(rows)))
    return examples.group_by("split").len().sort("split").rows()


def pandas(path):
    import pandas
    import pyarrow

    rows = pyarrow.Table.from_pandas(pandas.read_json(path, lines=True), preserve_index=False)
    examples = ingest("-", stdin=stream(rows)).to_pandas()
    return sorted(examples["split"].value_counts().items())


def pyspark(path):
    """Each worker pipes its partition through the program; --shard is not needed, Spark has cut the rows already."""
    import pyarrow
    import pyspark.sql

    spark = pyspark.sql.SparkSession.builder.master("local[2]").getOrCreate()
    rows = spark.read.json(path)
    shape = "id string, kind string, text string, source_row long, split string"
    names = [part.split()[0] for part in shape.split(", ")]

    def worker(batches):
        batches = list(batches)
        if any(batch.num_rows for batch in batches):
            examples = ingest("-", stdin=stream(pyarrow.Table.from_batches(batches)))
            for batch in examples.select(names).to_batches():
                columns = [column.cast("int64") if name == "source_row" else column for name, column in zip(names, batch.columns)]
                yield pyarrow.RecordBatch.from_arrays(columns, names)

    counts = rows.mapInArrow(worker, shape).groupBy("split").count().orderBy("split").collect()
    return [tuple(row) for row in counts]


if __name__ == "__main__":
    if len(sys.argv) > 1:
        path = sys.argv[1]
    else:
        path = tempfile.mkdtemp() + "/rows.jsonl"
        with open(path, "w") as out:
            out.writelines(f'{{"text": "row number {n // 2}"}}\n' for n in range(2000))
    for recipe in [duckdb, polars, pandas, pyspark]:
        if importlib.util.find_spec(recipe.__name__) is None:
            print(f"{recipe.__name__}: not installed, not run")
            continue
        print(f"{recipe.__name__}: {recipe(path)}")

//! The Make engine: real GNU make over stand-in programs, counting which stages ran. Each test proves one sentence of
//! what `pipelines/common.mk` promises.

mod failures;
mod pipeline;
mod top;

use pipeline::{ALL, Pipeline};
use std::fs;
use std::time::{Duration, Instant};

#[test]
fn the_first_make_runs_every_stage_in_order_and_the_second_none() {
    let pipeline = Pipeline::new();
    assert_eq!(pipeline.make(&[]).stages, ALL);
    assert_eq!(pipeline.make(&[]).stages, [""; 0]);
}

#[test]
fn a_second_make_over_a_hundred_megabytes_takes_less_than_a_second() {
    let pipeline = Pipeline::new();
    pipeline.write(
        "questions.txt",
        &"a line of a data file of some length, so that hashing it takes time\n".repeat(1_500_000),
    );
    pipeline.make(&[]);
    // The best of some tries, because other tests run beside this one.
    let tries = (0..10).map(|_| {
        let start = Instant::now();
        assert_eq!(pipeline.make(&[]).stages, [""; 0]);
        start.elapsed()
    });
    let took: Vec<Duration> = tries.collect();
    assert!(took.iter().any(|took| *took < Duration::from_secs(1)), "{took:?}");
}

#[test]
fn a_changed_variable_reruns_the_stages_that_it_reaches() {
    let pipeline = Pipeline::new();
    pipeline.make(&[]);
    let cases: [(&str, &[&str]); 10] = [
        ("DEDUP=off", &ALL),
        ("INGEST_FLAGS=--min-chars 3", &ALL),
        ("MAX_LENGTH=64", &ALL[1..]),
        ("TOKENIZE_FLAGS=--chat-template x", &ALL[1..]),
        ("LEARNING_RATE=1e-3", &ALL[2..]),
        ("LORA_R=8", &ALL[2..]),
        ("EVALUATE_FLAGS=--split train", &["evaluate"]),
        ("METRICS=f1", &["test"]),
        ("BASELINE=no", &["evaluate", "test"]),
        ("GATE=exact_match>=0.8 f1>=0.5", &["test"]),
    ];
    let mut variables = Vec::new();
    for (variable, stages) in cases {
        variables.push(variable);
        assert_eq!(pipeline.make(&variables).stages, stages, "{variable}");
    }
    assert_eq!(pipeline.make(&variables).stages, [""; 0]);
}

#[test]
fn a_variable_arrives_at_the_program_as_it_is() {
    let pipeline = Pipeline::new();
    pipeline.make(&["GATE=exact_match>=0.8 f1>=0.5", "MAP=prompt=it's {a} & $$HOME"]);
    let calls = pipeline.read("bin/calls");
    assert!(calls.contains("--gate exact_match>=0.8 --gate f1>=0.5"), "{calls}");
    assert!(calls.contains("--map prompt=it's {a} & $HOME"), "{calls}");
}

#[test]
fn the_same_value_reruns_nothing() {
    let pipeline = Pipeline::new();
    pipeline.make(&["LEARNING_RATE=1e-3"]);
    assert_eq!(pipeline.make(&["LEARNING_RATE= 1e-3 "]).stages, [""; 0]);
    pipeline.write("Makefile", &format!("LEARNING_RATE := 1e-3 # as before\n{}", pipeline.read("Makefile")));
    assert_eq!(pipeline.make(&[]).stages, [""; 0]);
}

#[test]
fn one_changed_byte_of_the_input_reruns_from_ingest() {
    let pipeline = Pipeline::new();
    pipeline.make(&[]);
    pipeline.write("questions.txt", &pipeline.read("questions.txt").replacen('b', "c", 1));
    assert_eq!(pipeline.make(&[]).stages, ALL);
}

#[test]
fn a_touched_but_identical_file_reruns_nothing() {
    let pipeline = Pipeline::new();
    let flags = ["TRAIN_FLAGS=--config train.toml"];
    pipeline.write("train.toml", "lora_dropout = 0.1\n");
    pipeline.make(&flags);
    for file in ["questions.txt", "base/config.json", "base/model.safetensors", "base/tokenizer.json", "train.toml"] {
        pipeline.touch(file);
        let before = pipeline.snapshot();
        assert_eq!(pipeline.make(&flags).stages, [""; 0], "{file}");
        let changes = pipeline.changes_since(&before);
        assert!(changes.iter().all(|file| file == "run/.make/content"), "{file}: {changes:?}");
    }
}

#[test]
fn a_changed_configuration_file_in_the_flags_reruns_its_stage() {
    let pipeline = Pipeline::new();
    for flags in ["TRAIN_FLAGS=--config train.toml", "TRAIN_FLAGS=--config=train.toml"] {
        pipeline.write("train.toml", "lora_dropout = 0.1\n");
        pipeline.make(&[flags]);
        pipeline.write("train.toml", "lora_dropout = 0.2\n");
        assert_eq!(pipeline.make(&[flags]).stages[..1], ["train"], "{flags}");
    }
}

#[test]
fn where_a_stage_writes_the_same_content_what_follows_does_not_run() {
    let pipeline = Pipeline::new();
    pipeline.make(&[]);
    pipeline.append("questions.txt", "# a remark\n");
    assert_eq!(pipeline.make(&[]).stages, ["ingest"]);
    assert_eq!(pipeline.make(&[]).stages, [""; 0]);
    assert_eq!(pipeline.make(&["SEED=7"]).stages, ["ingest", "train", "evaluate", "test"]);
}

#[test]
fn a_touched_file_between_two_stages_reruns_nothing() {
    let pipeline = Pipeline::new();
    pipeline.make(&[]);
    for (_, file) in pipeline.outputs() {
        pipeline.touch(&file);
        assert!(!pipeline.make(&["-n"]).stdout.contains("retune-"), "{file}");
        assert_eq!(pipeline.make(&[]).stages, [""; 0], "{file}");
    }
}

#[test]
fn a_changed_file_between_two_stages_reruns_what_reads_it() {
    let pipeline = Pipeline::new();
    pipeline.make(&[]);
    pipeline.append("run/data/test.parquet", "test another\n");
    assert_eq!(pipeline.make(&[]).stages, ["tokenize", "test"]);
    pipeline.append("run/tokens/train.parquet", "more\n");
    assert_eq!(pipeline.make(&[]).stages, ["train", "evaluate", "test"]);
}

#[test]
fn data_may_be_files_globs_and_folders() {
    let pipeline = Pipeline::new();
    let data = ["DATA=questions.txt more/*.txt ./folder"];
    for name in ["more/one.txt", "more/odd name.txt", "folder/deep/er/two.txt"] {
        pipeline.write(name, &format!("a {name}\n"));
    }
    pipeline.make(&data);
    assert!(pipeline.read("bin/calls").contains("ingest questions.txt more/*.txt ./folder --out run/data"));
    assert_eq!(pipeline.make(&data).stages, [""; 0]);
    let explained = |change: &dyn Fn(), expected: &str| {
        change();
        let text = pipeline.make(&["explain", data[0]]).stdout;
        assert!(text.contains(expected), "{expected} is not in {text}");
        assert_eq!(pipeline.make(&data).stages[..1], ["ingest"], "{expected}");
    };
    explained(&|| pipeline.write("more/odd name.txt", "changed\n"), "more/odd name.txt changed");
    explained(&|| pipeline.write("folder/deep/new.txt", "x\n"), "./folder/deep/new.txt is new");
    explained(&|| pipeline.remove("more/one.txt"), "more/one.txt is gone");
}

#[test]
fn an_older_file_of_the_same_size_in_its_place_is_noticed() {
    let pipeline = Pipeline::new();
    pipeline.write("older.txt", &pipeline.read("questions.txt").replacen('b', "c", 1));
    pipeline.age("older.txt");
    pipeline.make(&[]);
    fs::rename(pipeline.path("older.txt"), pipeline.path("questions.txt")).unwrap();
    assert_eq!(pipeline.make(&[]).stages, ALL);
}

#[test]
fn a_model_folder_counts_by_content_and_a_hub_name_by_its_text() {
    let pipeline = Pipeline::new();
    pipeline.make(&[]);
    pipeline.append("base/model.safetensors", "more");
    assert_eq!(pipeline.make(&[]).stages, ["train", "evaluate", "test"], "weights");
    pipeline.append("base/tokenizer.json", "more");
    assert_eq!(pipeline.make(&[]).stages, ALL[1..], "tokenizer");
    pipeline.write("base/manifest.json", "written at another time");
    pipeline.write("base/checkpoints/step-1/model.safetensors", "not the model");
    assert_eq!(pipeline.make(&[]).stages, [""; 0], "manifest and checkpoints");
    pipeline.make(&["MODEL=org/name@main"]);
    assert_eq!(pipeline.make(&["MODEL=org/name@main"]).stages, [""; 0], "hub name");
    assert_eq!(pipeline.make(&["MODEL=org/name@v2"]).stages[..1], ["tokenize"], "another revision");
}

#[test]
fn a_deleted_output_reruns_its_stage() {
    let pipeline = Pipeline::new();
    pipeline.make(&[]);
    let outputs = pipeline.outputs();
    assert_eq!(outputs.len(), 23, "{outputs:?}");
    for (stage, file) in outputs {
        pipeline.remove(&file);
        assert_eq!(pipeline.make(&["-j4"]).stages, [stage], "{file}");
        assert!(pipeline.path(&file).exists(), "{file}");
    }
    assert_eq!(pipeline.make(&[]).stages, [""; 0]);
}

#[test]
fn a_rebuilt_program_reruns_nothing_and_another_version_everything() {
    let pipeline = Pipeline::new();
    pipeline.make(&[]);
    for stage in ALL {
        pipeline.touch(&format!("bin/retune-{stage}"));
    }
    pipeline.append("bin/retune-train", "# built again\n");
    assert_eq!(pipeline.make(&[]).stages, [""; 0]);
    pipeline.write("bin/version", "retune-ingest 0.1.0 (contract 2)\n");
    assert_eq!(pipeline.make(&[]).stages, ALL);
}

#[test]
fn a_fingerprint_file_is_rewritten_only_when_its_value_changes() {
    let pipeline = Pipeline::new();
    pipeline.make(&[]);
    let (train, tokenize) = (pipeline.time("run/.make/train"), pipeline.time("run/.make/tokenize"));
    pipeline.remove("run/model/manifest.json");
    assert_eq!(pipeline.make(&[]).stages, ["train"]);
    assert_eq!(pipeline.time("run/.make/train"), train);
    pipeline.make(&["LEARNING_RATE=1e-3"]);
    assert_ne!(pipeline.time("run/.make/train"), train);
    assert_eq!(pipeline.time("run/.make/tokenize"), tokenize);
}

#[test]
fn make_n_and_explain_change_nothing_and_name_the_stages_that_may_run() {
    let pipeline = Pipeline::new();
    let case = |flags: &[&str], stages: &[&str], what: &str| {
        for mode in [&["-n"][..], &["--dry-run", "-j2"], &["explain"], &["-q"]] {
            let before = pipeline.snapshot();
            let made = pipeline.run(&[flags, mode].concat());
            assert_eq!(pipeline.changes_since(&before), [""; 0], "{mode:?} {what}");
            assert_eq!(made.stages, [""; 0], "{mode:?} {what}");
            let shown: Vec<&str> = match mode[0] {
                "-q" => {
                    assert_eq!(made.code, i32::from(!stages.is_empty()), "{what}");
                    continue;
                }
                "explain" => {
                    ALL.into_iter().filter(|stage| !made.stdout.contains(&format!("{stage:<9} up to date"))).collect()
                }
                _ => ALL.into_iter().filter(|stage| made.stdout.contains(&format!("bin/retune-{stage} "))).collect(),
            };
            assert_eq!(shown, stages, "{mode:?} {what}:\n{}", made.stdout);
        }
    };
    case(&[], &ALL, "before the first run");
    pipeline.make(&[]);
    case(&[], &[], "after the first run");
    case(&["LEARNING_RATE=9"], &ALL[2..], "with another learning rate");
    case(&["GATE=f1>=0.1"], &["test"], "with a gate");
    pipeline.touch("questions.txt");
    case(&[], &[], "after a touch");
    pipeline.append("questions.txt", "# remark\n");
    case(&[], &ALL, "after a change");
    pipeline.make(&[]);
    case(&[], &[], "after a cut-off");
    assert_eq!(pipeline.make(&[]).stages, [""; 0]);
}

#[test]
fn parallel_make_runs_each_stage_once() {
    let pipeline = Pipeline::new();
    let mut stages = pipeline.make(&["-j8"]).stages;
    stages[3..].sort();
    assert_eq!(stages, ALL);
    assert_eq!(pipeline.make(&["-j8"]).stages, [""; 0]);
}

#[test]
fn explain_gives_the_reason() {
    let pipeline = Pipeline::new();
    let reason = |flags: &[&str], expected: &str| {
        let text = pipeline.make(&[flags, &["explain"]].concat()).stdout;
        assert!(text.lines().any(|line| line == expected), "{expected:?} is not in\n{text}");
    };
    reason(&[], "train     runs: not yet run");
    pipeline.make(&[]);
    reason(&[], "train     up to date");
    reason(&["LEARNING_RATE=1"], "train     runs: LEARNING_RATE is 1, was not set");
    reason(&["LEARNING_RATE=1"], "evaluate  runs if train makes something new");
    reason(&["GATE=f1>=1"], "evaluate  up to date");
    reason(&["EPOCHS=1", "LORA_R=4"], "train     runs: EPOCHS is 1, was 3; LORA_R is 4, was not set");
    reason(&["MAX_STEPS=5"], "train     runs: MAX_STEPS is 5, was unknown; EPOCHS no longer counts");
    pipeline.remove("run/data/rejects.parquet");
    reason(&[], "ingest    runs: run/data/rejects.parquet is missing");
    reason(&[], "tokenize  runs if ingest makes something new");
    pipeline.append("run/tokens/train.parquet", "more");
    reason(&[], "train     runs: run/tokens/train.parquet changed");
    pipeline.write("run/.make/test.begun", "");
    reason(&[], "test      runs: it was not finished");
    pipeline.write("bin/version", "retune-ingest 0.2.0 (contract 1)\n");
    reason(
        &[],
        "ingest    runs: version is retune-ingest 0.2.0 (contract 1), was retune-ingest 0.1.0 (contract 1); run/data/rejects.parquet is missing",
    );
}

#[test]
fn a_goal_runs_no_more_than_it_needs() {
    let pipeline = Pipeline::new();
    assert_eq!(pipeline.make(&["ingest", "MODEL="]).stages, ["ingest"], "no model is asked for");
    assert_eq!(pipeline.make(&["train"]).stages, ["tokenize", "train"]);
    assert_eq!(pipeline.make(&["test"]).stages, ["test"]);
    let pipeline = Pipeline::new();
    assert_eq!(pipeline.make(&["STAGES=ingest tokenize"]).stages, ["ingest", "tokenize"]);
}

#[test]
fn held_out_files_are_tested_on_and_nothing_else() {
    let pipeline = Pipeline::new();
    pipeline.write("exam.txt", "test this\n");
    let flags = ["TEST_DATA=exam.txt"];
    pipeline.make(&[]);
    assert_eq!(pipeline.make(&flags).stages, ["ingest", "test"], "the second ingest is that of the held-out files");
    let calls = pipeline.read("bin/calls");
    assert!(calls.contains("ingest exam.txt --as test --out run/held-out"), "{calls}");
    assert!(calls.contains("test run/held-out/test.parquet --adapter run/model --baseline --out run/test"), "{calls}");
    assert_eq!(pipeline.make(&flags).stages, [""; 0]);
    pipeline.append("exam.txt", "test that\n");
    assert!(pipeline.make(&["explain", flags[0]]).stdout.contains("holdout   runs: exam.txt changed"));
    assert_eq!(pipeline.make(&flags).stages, ["ingest", "test"]);
}

#[test]
fn full_training_and_training_from_random_weights_hand_on_a_whole_model() {
    let pipeline = Pipeline::new();
    pipeline.make(&["METHOD=full"]);
    let calls = pipeline.read("bin/calls");
    assert!(calls.contains("evaluate run/tokens --model run/model --baseline=base --out run/eval"), "{calls}");
    assert_eq!(pipeline.make(&["METHOD=full"]).stages, [""; 0]);
    let pipeline = Pipeline::new();
    pipeline.write("small.json", "{}");
    let flags = ["MODEL=", "NEW_TOKENIZER=bpe:512", "INIT_CONFIG=small.json", "STAGES=ingest tokenize train"];
    pipeline.make(&flags);
    let calls = pipeline.read("bin/calls");
    assert!(!calls.contains("--model"), "{calls}");
    pipeline.write("small.json", "{ }");
    assert_eq!(pipeline.make(&flags).stages, ["train"]);
}

#[test]
fn one_pipeline_can_learn_from_the_model_of_another() {
    let pipeline = Pipeline::new();
    let tune = pipeline.read("Makefile").replace("base", "run/base/model");
    pipeline.write("tune.mk", &format!("RUN := run/tune\n{tune}"));
    pipeline.write(
        "base.mk",
        &format!("RUN := run/base\nSTAGES := ingest tokenize train\nMETHOD := full\n{}", pipeline.read("Makefile")),
    );
    pipeline.write("Makefile", "all explain:\n\t+@$(MAKE) --no-print-directory -f base.mk $@\n\t+@$(MAKE) --no-print-directory -f tune.mk $@\n");
    let first = [&ALL[..3], &ALL[..]].concat();
    assert_eq!(pipeline.make(&[]).stages, first);
    assert_eq!(pipeline.make(&[]).stages, [""; 0]);
    pipeline.append("base/model.safetensors", "more\n");
    assert_eq!(pipeline.make(&[]).stages, [&ALL[2..3], &ALL[1..]].concat());
    pipeline.append("base/model.safetensors", "# a remark\n");
    assert_eq!(pipeline.make(&[]).stages, ["train"], "the same base again");
}

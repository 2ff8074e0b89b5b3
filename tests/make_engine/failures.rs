//! Failed, interrupted and mistaken calls of make.

use std::process::Command;
use std::time::{Duration, Instant};

use super::pipeline::{ALL, Pipeline};

#[test]
fn a_failed_stage_looks_unfinished_keeps_its_checkpoints_and_is_resumed() {
    let pipeline = Pipeline::new();
    pipeline.write("bin/fail-train", "");
    let made = pipeline.run(&[]);
    assert_eq!(made.code, 2);
    assert_eq!(made.stages, ALL[..3]);
    assert!(!pipeline.path("run/model/manifest.json").exists());
    assert!(pipeline.path("run/model/checkpoints/step-1/state.json").exists());
    assert!(!pipeline.read("bin/calls").contains("--resume"), "there was nothing to resume");
    pipeline.remove("bin/fail-train");
    assert_eq!(pipeline.make(&[]).stages, ALL[2..]);
    assert!(pipeline.read("bin/calls").contains("--resume"));
    assert_eq!(pipeline.make(&[]).stages, [""; 0]);
}

#[test]
fn an_interrupted_training_is_resumed() {
    let pipeline = Pipeline::new();
    pipeline.write("bin/slow-train", "");
    let mut make = pipeline.start(&[]);
    let start = Instant::now();
    while !pipeline.path("run/model/checkpoints/step-1/state.json").exists() {
        assert!(start.elapsed() < Duration::from_mins(1), "training never began");
        std::thread::sleep(Duration::from_millis(20));
    }
    let group = format!("-{}", make.id());
    assert!(Command::new("kill").args(["-INT", "--", &group]).status().unwrap().success());
    assert!(!make.wait().unwrap().success());
    assert!(!pipeline.path("run/model/manifest.json").exists());
    assert!(pipeline.path("run/model/checkpoints/step-1/state.json").exists());
    pipeline.remove("bin/slow-train");
    assert_eq!(pipeline.make(&[]).stages, ALL[2..]);
    assert!(pipeline.read("bin/calls").contains("--resume"));
}

#[test]
fn a_stage_that_fails_after_its_manifest_leaves_none() {
    let pipeline = Pipeline::new();
    pipeline.make(&[]);
    pipeline.write("bin/fail-late-tokenize", "");
    assert_eq!(pipeline.run(&["MAX_LENGTH=9"]).stages, ["tokenize"]);
    assert!(!pipeline.path("run/tokens/manifest.json").exists());
    pipeline.remove("bin/fail-late-tokenize");
    assert_eq!(pipeline.make(&[]).stages, ["tokenize"], "back at the former value");
}

#[test]
fn an_interrupted_training_starts_over_when_something_changed_since() {
    let pipeline = Pipeline::new();
    pipeline.write("bin/fail-train", "");
    pipeline.run(&[]);
    pipeline.remove("bin/fail-train");
    assert!(pipeline.make(&["-n", "LEARNING_RATE=1e-3"]).stdout.contains("--force"));
    assert_eq!(pipeline.make(&["LEARNING_RATE=1e-3"]).stages, ALL[2..]);
    let calls = pipeline.read("bin/calls");
    assert!(calls.contains("--force") && !calls.contains("--resume"), "{calls}");
    assert_eq!(pipeline.make(&[]).stages, ALL[2..]);
    assert_eq!(pipeline.read("bin/calls").matches("--force").count(), 1);
}

#[test]
fn a_result_that_make_did_not_see_finish_is_not_taken_for_the_former_one() {
    let pipeline = Pipeline::new();
    pipeline.make(&[]);
    // As if make was killed when the program had written its manifest and make had not noted it.
    let record = pipeline.read("run/.make/tokenize");
    pipeline.make(&["MAX_LENGTH=9", "tokenize"]);
    pipeline.write("run/.make/tokenize.begun", &pipeline.read("run/.make/tokenize"));
    pipeline.write("run/.make/tokenize", &record);
    assert_eq!(pipeline.make(&[]).stages, ["tokenize"]);
}

#[test]
fn what_a_failure_kept_from_running_runs_next_time() {
    let pipeline = Pipeline::new();
    pipeline.make(&[]);
    pipeline.append("questions.txt", "more\n");
    pipeline.write("bin/fail-tokenize", "");
    assert_eq!(pipeline.run(&[]).stages, ["ingest", "tokenize"]);
    pipeline.remove("bin/fail-tokenize");
    assert_eq!(pipeline.make(&[]).stages, ALL[1..]);
}

#[test]
fn a_stage_that_does_not_make_what_it_should_fails() {
    let pipeline = Pipeline::new();
    pipeline.write("bin/retune-tokenize", "#!/bin/sh\nexit 0\n");
    let made = pipeline.run(&[]);
    assert_eq!(made.code, 2);
    assert!(made.stderr.contains("the program of tokenize did not make run/tokens/manifest.json"), "{}", made.stderr);
}

#[test]
fn a_failure_inside_a_shell_pipe_is_a_failure() {
    let pipeline = Pipeline::new();
    pipeline.append("Makefile", "piped:\n\tfalse | cat\n\ttrue\n");
    assert_eq!(pipeline.run(&["piped"]).code, 2);
}

#[test]
fn a_missed_gate_fails_every_time_and_reruns_nothing() {
    let pipeline = Pipeline::new();
    pipeline.write("bin/miss", "");
    let made = pipeline.run(&["-j4"]);
    assert_eq!(made.code, 2, "{made:?}");
    assert!(pipeline.path("run/test/manifest.json").exists());
    let made = pipeline.run(&[]);
    assert_eq!((made.code, made.stages.len()), (2, 0));
    assert!(made.stderr.contains("a gate was missed: see run/test/report.html"), "{}", made.stderr);
    pipeline.remove("bin/miss");
    assert_eq!(pipeline.make(&["GATE=f1>=0.1"]).stages, ["test"]);
}

#[test]
fn a_users_mistake_gets_one_clear_message_and_runs_nothing() {
    let pipeline = Pipeline::new();
    let cases = [
        (&["DATA="][..], "DATA is not set: name the files to learn from"),
        (&["MODEL="], "MODEL is not set: name a Hugging Face folder or a hub name"),
        (&["DATA=nowhere.txt"], "there is no file or folder nowhere.txt"),
        (&["DATA=*.jsonl"], "there is no file or folder *.jsonl"),
        (&["MODEL=./nowhere"], "MODEL: ./nowhere is neither a folder nor a hub name such as org/name"),
        (&["LEARNING_RAT=1"], "LEARNING_RAT is not a variable of this pipeline: `make help` lists them"),
        (&["STAGES=ingest trian"], "STAGES: trian is not a stage: ingest tokenize train evaluate test are"),
        (&["BIN=elsewhere"], "elsewhere/retune-ingest is not there: build it with `make build`"),
    ];
    for (arguments, message) in cases {
        let made = pipeline.run(arguments);
        assert_eq!(made.code, 2, "{arguments:?}");
        assert_eq!(made.stages.len(), 0, "{arguments:?}");
        assert!(made.stderr.contains(message), "{arguments:?}: {}", made.stderr);
        let lines = made.stderr.lines().filter(|line| !line.starts_with("make: *** [")).count();
        assert_eq!(lines, 1, "{arguments:?}: {}", made.stderr);
    }
}

#[test]
fn help_lists_every_target_and_every_variable_with_its_default() {
    let pipeline = Pipeline::new();
    let text = pipeline.make(&["help", "DATA=", "MODEL="]).stdout;
    for target in [&ALL[..], &["all", "explain", "clean", "help"]].concat() {
        assert!(text.lines().any(|line| line.trim_start().starts_with(&format!("make {target} "))), "{target}: {text}");
    }
    let engine = include_str!("../../pipelines/common.mk");
    let mut count = 0;
    for (name, rest) in engine.lines().filter(|line| line.contains("##")).filter_map(|line| line.split_once(" ?= ")) {
        let default = rest.split("##").next().unwrap().trim();
        let shown = if default.is_empty() {
            "empty"
        } else if default.starts_with('$') {
            ""
        } else {
            default
        };
        let line = text.lines().find(|line| line.trim_start().starts_with(&format!("{} ", name.trim())));
        assert!(line.is_some_and(|line| line.contains(&format!("(default: {shown}"))), "{name}: {line:?}");
        count += 1;
    }
    assert!(count > 20, "{count} variables");
    assert!(pipeline.make(&["help", "LEARNING_RATE=7"]).stdout.contains("now: 7"));
}

#[test]
fn clean_removes_what_the_pipeline_made_and_nothing_else() {
    let pipeline = Pipeline::new();
    pipeline.write("data/mine.txt", "not of this pipeline\n");
    let before = pipeline.snapshot();
    pipeline.make(&["RUN=."]);
    assert!(pipeline.make(&["RUN=.", "clean"]).stdout.contains("./data holds files that this pipeline did not make"));
    assert_eq!(pipeline.changes_since(&before), ["bin/calls"]);
    pipeline.make(&[]);
    pipeline.make(&["clean"]);
    assert!(!pipeline.path("run").exists());
}

#[test]
fn a_path_with_a_blank_is_refused_with_the_way_out() {
    let pipeline = Pipeline::new();
    pipeline.write("my questions.txt", "a\n");
    for (argument, link) in [
        ("DATA=my questions.txt", "ln -s 'my questions.txt' my-questions.txt"),
        (r"DATA=my\ questions.txt", "my-questions.txt"),
        ("MODEL=old models/base", "ln -s 'old models/base' base"),
        ("RUN=my run", "my-run"),
    ] {
        let made = pipeline.run(&[argument]);
        let name = argument.split('=').next().unwrap();
        assert_eq!((made.code, made.stages.len()), (2, 0), "{argument}: {made:?}");
        assert!(made.stderr.contains(&format!("{name}: the path")) && made.stderr.contains(link), "{}", made.stderr);
    }
    pipeline.write("more.txt", "b\n");
    assert_eq!(pipeline.make(&["DATA=questions.txt more.txt"]).stages, ALL);
}

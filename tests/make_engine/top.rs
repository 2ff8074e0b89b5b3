//! The top Makefile: it builds, then runs a pipeline; with a stand-in for cargo and for the programs.

use super::pipeline::{ALL, Made, Pipeline};

/// Calls the top Makefile on the files of `pipeline`.
fn top(pipeline: &Pipeline, arguments: &[&str]) -> Made {
    let folder = pipeline.path("");
    let folder = folder.to_str().unwrap();
    let built = format!("CARGO_TARGET_DIR={folder}target");
    let cargo = format!("CARGO={folder}cargo");
    let run = format!("RUN={folder}run");
    pipeline.run(&[&["-C", env!("CARGO_MANIFEST_DIR"), &built, &cargo, &run], arguments].concat())
}

fn with_cargo() -> Pipeline {
    let pipeline = Pipeline::new();
    pipeline.write_program("cargo", "#!/bin/sh\necho \"cargo $*\" >>\"$(dirname \"$0\")/bin/calls\"\n");
    for other in ["export", "generate", "inspect"] {
        pipeline.write_program(&format!("bin/retune-{other}"), "");
    }
    std::fs::create_dir(pipeline.path("target")).unwrap();
    std::os::unix::fs::symlink(pipeline.path("bin"), pipeline.path("target/release")).unwrap();
    pipeline
}

#[test]
fn data_and_model_are_tuned_after_a_build_and_a_second_make_calls_nothing() {
    let pipeline = with_cargo();
    // Nothing is built yet.
    pipeline.remove("bin/retune-train");
    let data = format!("DATA={}", pipeline.path("questions.txt").display());
    let model = format!("MODEL={}", pipeline.path("base").display());
    let made = top(&pipeline, &[&data, &model, "-n"]);
    assert_eq!((made.code, made.stages.len()), (0, 0), "{made:?}");
    assert!(made.stdout.contains("cargo build --release --locked --bins"), "{}", made.stdout);

    pipeline.write_stand_ins();
    pipeline.age("bin/retune-train");
    let made = top(&pipeline, &[&data, &model]);
    assert_eq!(made.stages, [&["cargo"], &ALL[..]].concat(), "{made:?}");
    assert_eq!(top(&pipeline, &[&data, &model]).stages, [""; 0]);
    assert_eq!(top(&pipeline, &[&data, &model, "LEARNING_RATE=1"]).stages, ALL[2..]);
}

#[test]
fn data_alone_is_handed_to_the_quickstart_with_its_whole_path() {
    let pipeline = with_cargo();
    let text = top(&pipeline, &["-n", "DATA=Cargo.toml"]).stdout;
    let whole = concat!("DATA='", env!("CARGO_MANIFEST_DIR"), "/Cargo.toml'");
    assert!(text.contains("-C pipelines/quickstart") && text.contains(whole), "{text}");
    assert!(
        text.contains("MODEL is not set: the small base of the quickstart is made and tuned on Cargo.toml"),
        "{text}"
    );
    let made = top(&pipeline, &["DATA=my Cargo.toml", "MODEL=a b"]);
    assert!(made.code == 2 && made.stderr.contains(r#"MODEL: the path "a b" has a blank in it"#), "{}", made.stderr);
    let made = top(&pipeline, &["tune", "DATA=Cargo.toml"]);
    assert!(made.code == 2 && made.stderr.contains("MODEL is not set"), "{}", made.stderr);
}

#[test]
fn help_lists_every_target() {
    let pipeline = with_cargo();
    let text = top(&pipeline, &["help"]).stdout;
    for target in ["quickstart", "tune", "explain", "build", "test", "lint", "bench", "docs", "clean", "help"] {
        assert!(text.contains(&format!("  make {target} ")), "{target}: {text}");
    }
    assert!(text.contains("  LEARNING_RATE   peak learning rate") && text.contains("; now: "), "{text}");
}

#[test]
fn before_the_base_is_made_explain_says_that_the_tuning_follows() {
    let pipeline = with_cargo();
    for arguments in [&["explain"][..], &["-n"]] {
        let made = top(&pipeline, arguments);
        assert!(made.code == 0 && made.stdout.contains("tuned: every stage runs when the base is made"), "{made:?}");
    }
}

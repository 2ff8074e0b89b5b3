//! What is said before a run starts: wrong flags by their exit code, runs that would teach little, folders in use.

use super::*;

fn misuse(arguments: &[&str], expected: &[&str]) {
    let (code, _, stderr) = run(arguments);
    assert_eq!(code, 2, "{arguments:?}\n{stderr}");
    for part in expected {
        assert!(stderr.contains(part), "{part:?} is not in:\n{stderr}");
    }
}

#[test]
fn a_wrong_flag_is_a_matter_of_usage_and_a_wrong_file_is_not() {
    let Some(bench) = Bench::new("models/tinystories-chat-3M", 3, 14_000) else { return };
    let of = |more: &[&str], expected: &[&str]| {
        let arguments = bench.arguments("out", more);
        misuse(&arguments.iter().map(String::as_str).collect::<Vec<_>>(), expected);
    };
    of(&["--learning-rate", "-1"], &["--learning-rate must be a number above 0, found -1"]);
    of(&["--adam-beta2", "1"], &["--adam-beta2 must be from 0 to below 1"]);
    of(&["--batch-size", "0"], &["--batch-size must be at least 1"]);
    of(&["--epochs", "0"], &["--epochs"]);
    of(&["--lora-dropout", "1"], &["--lora-dropout must be from 0 to below 1"]);
    of(&["--lora-rank-pattern", "q_proj"], &["--lora-rank-pattern takes NAME=NUMBER"]);
    of(&["--method", "full", "--lora-r", "4"], &["--lora-r belongs to adapters", "hint:"]);
    of(&["--quantize-base", "nf4"], &["--method qlora", "hint:"]);
    of(&["--decay-ratio", "0.2"], &["--schedule wsd"]);
    of(&["--dtype", "bf16"], &["not built"]);
    of(&["--target-modules", "q_prj"], &["`q_prj` matches no linear layer", "c_attn"]);
    of(&["--objective", "dpo", "--dpo-label-smoothing", "0.5"], &["--dpo-label-smoothing"]);
    of(&["--objective", "kto"], &["--objective kto is not built", "--objective dpo"]);
    of(&["--objective", "ipo"], &["--dpo-loss ipo"]);
    of(&["--method", "prefix_tuning"], &["--method prefix_tuning is not built", "--method lora"]);
    of(&["--method", "lorra"], &["possible values: lora, full, qlora, dora"]);
    of(&["--device", "cuda"], &["this build", "cpu"]);
    let mut absent = bench.arguments("out", &[]);
    absent[0] = bench.path("no.parquet");
    fail(&absent.iter().map(String::as_str).collect::<Vec<_>>(), &["no.parquet does not exist"]);
    assert!(!Path::new(&bench.path("out")).exists());
}

#[test]
fn a_short_run_is_told_what_makes_it_longer_and_its_first_step_counts() {
    let Some(bench) = Bench::new("models/tinystories-chat-3M", 20, 14_000) else { return };
    let stderr = bench.succeed("few", &["--epochs", "1"]);
    assert!(stderr.contains("only 3 optimizer steps") && stderr.contains("--epochs 10"), "{stderr}");
    let rates = |out: &str| floats(&metrics(Path::new(&bench.path(out))), "learning_rate");
    assert!(rates("few").iter().all(|rate| rate.unwrap() > 0.0), "{:?}", rates("few"));
    // Asked for, the warm-up is that of transformers: its first step is at rate 0.
    bench.succeed("warm", &["--max-steps", "3", "--warmup-steps", "1"]);
    assert_eq!(rates("warm")[0], Some(0.0));
    let stderr = bench.succeed("one", &["--max-steps", "1", "--warmup-ratio", "0.1"]);
    assert!(stderr.contains("1 step, ") && stderr.contains("left out"), "{stderr}");
    assert_eq!(rates("one"), [Some(2e-4)]);
    assert!(bench.succeed("long", &["--max-steps", "2", "--warmup-steps", "5"]).contains("never reaches"));
}

#[test]
fn a_folder_that_another_run_fills_is_refused() {
    let Some(bench) = Bench::new("models/tinystories-chat-3M", 3, 14_000) else { return };
    let out = PathBuf::from(bench.path("out"));
    fs::create_dir(&out).unwrap();
    let held = fs::File::open(&out).unwrap();
    held.lock().unwrap();
    bench.fail("out", &["--max-steps", "1"], &["another run is writing to", "choose another folder with --out"]);
    assert_eq!(fs::read_dir(&out).unwrap().count(), 0);
    drop(held);
    bench.succeed("out", &["--max-steps", "1"]);
}

#[test]
fn a_finished_run_is_never_resumed_into_another() {
    let Some(bench) = Bench::new("models/tinystories-chat-3M", 3, 14_000) else { return };
    for keep in ["0", "1"] {
        let run = |steps: &'static str, more: &[&'static str]| {
            [&["--max-steps", steps, "--keep-checkpoints", keep], more].concat()
        };
        bench.succeed(keep, &run("2", &[]));
        let before = contents(Path::new(&bench.path(keep)));
        assert!(bench.succeed(keep, &run("2", &["--resume"])).contains("up to date"));
        bench.fail(keep, &run("3", &["--resume"]), &["is a finished run of other options", "max_steps", "--force"]);
        assert!(contents(Path::new(&bench.path(keep))) == before, "a refusal changes nothing");
        bench.succeed(keep, &run("3", &[]));
    }
}

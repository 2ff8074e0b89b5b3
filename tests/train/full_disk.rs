//! A disk that fills up while a checkpoint is being written: the last whole one stays, the error is clear, and the run goes
//! on from there once there is room.

use super::*;

const FULL: [&str; 10] =
    ["--method", "full", "--max-steps", "12", "--save-every", "1", "--batch-size", "2", "--evaluate-every", "12"];

fn steps(out: &str) -> Vec<String> {
    let Ok(entries) = fs::read_dir(Path::new(out).join("checkpoints")) else { return Vec::new() };
    let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name().to_str().unwrap().to_owned();
    let mut names: Vec<String> = entries.map(name).filter(|name| name.starts_with("step-")).collect();
    names.sort_unstable();
    names
}

#[test]
fn a_checkpoint_that_does_not_fit_leaves_the_last_one() {
    let Some(bench) = Bench::new("models/tinystories-chat-3M", 8, 14_000) else { return };
    let out = bench.path("out");
    let arguments = bench.arguments("out", &FULL);
    let mut child = train(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    while steps(&out).is_empty() && child.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let before = steps(&out);
    assert!(!before.is_empty() && before[0].as_str() < "step-000012", "{before:?}");

    // The optimizer's file is twice the model's: one fits, the other does not.
    let mut limited = Command::new("bash");
    limited.args(["-c", "trap '' XFSZ; ulimit -f 20000; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_retune-train")]);
    let output = limited.args(&arguments).arg("--resume").output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    for part in ["cannot write the checkpoint", "File too large", "--resume goes on from the last whole checkpoint"] {
        assert!(stderr.contains(part), "{part:?} is not in:\n{stderr}");
    }
    let kept: Vec<String> = fs::read_dir(Path::new(&out).join("checkpoints"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_str().unwrap().to_owned())
        .collect();
    assert_eq!(kept, [before[before.len() - 1].clone()], "nothing half-written, nothing lost");
    bench.succeed("out", &[&FULL[..], &["--resume"]].concat());
}

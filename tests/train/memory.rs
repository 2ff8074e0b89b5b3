//! Memory under control: checkpointed layers change no byte, a run that cannot fit says what would, and the plan is what
//! comes about.

use super::*;

/// Sixteen full rows of 256 tokens, as in the benchmark of this model.
fn dense(bench: &Bench) -> String {
    let row = |i: usize| -> Row {
        let ids: Vec<i32> = (0..256).map(|t| ((i * 977 + t * t * 31 + t * 7) % 14_000) as i32).collect();
        (ids.clone(), ids)
    };
    let path = bench.path("dense.parquet");
    write_tokens(Path::new(&path), &(0..16).map(row).collect::<Vec<_>>());
    path
}

#[test]
fn checkpointed_layers_change_no_byte() {
    let Some(bench) = Bench::new("models/tinystories-chat-3M", 9, 14_000) else { return };
    for method in ["lora", "full"] {
        let options = ["--method", method, "--max-steps", "3", "--batch-size", "3", "--gradient-accumulation", "2"];
        let dropout = if method == "lora" { ["--lora-dropout", "0.2"].as_slice() } else { &[] };
        let run = |out: &str, more: &[&str]| bench.succeed(out, &[&options, dropout, more].concat());
        run("kept", &["--activation-checkpointing", "off"]);
        run("checkpointed", &["--activation-checkpointing", "on"]);
        assert_same(Path::new(&bench.path("checkpointed")), Path::new(&bench.path("kept")));
        for out in ["kept", "checkpointed"] {
            fs::remove_dir_all(bench.path(out)).unwrap();
        }
    }
}

#[test]
fn the_plan_is_what_comes_about() {
    let Some(bench) = Bench::new("models/tinystories-chat-3M", 1, 14_000) else { return };
    let (tokens, out) = (dense(&bench), bench.path("out"));
    let model = bench.model.to_str().unwrap().to_owned();
    for more in [
        &["--method", "lora"][..],
        &["--method", "full"],
        &["--method", "full", "--activation-checkpointing", "on"],
        &["--method", "lora", "--batch-size", "4", "--gradient-accumulation", "4"],
    ] {
        let common = [&tokens, "--model", &model, "--out", &out, "--batch-size", "16", "--max-steps", "2"];
        // The last of two is the one that counts, where the batch size is given twice.
        let common =
            if more.contains(&"--batch-size") { [&common[..5], &common[7..]].concat() } else { common.to_vec() };
        let (code, plan, stderr) = run(&[&common, more, &["--plan", "--json"]].concat());
        assert_eq!(code, 0, "{stderr}");
        let plan: Value = serde_json::from_str(&plan).unwrap();
        succeed(&[&common, more].concat());
        let manifest = read_json(&Path::new(&out).join("manifest.json"));
        let memory = &manifest["summary"]["memory"];
        assert_eq!(memory["forecast"]["peak"], plan["bytes"], "{more:?}");
        let (expected, found) = (plan["bytes"].as_f64().unwrap(), memory["peak"].as_f64().unwrap());
        println!("{more:?}: {:.0} MiB expected, {:.0} MiB found", expected / 1048576.0, found / 1048576.0);
        assert!((expected / found - 1.0).abs() < 0.25, "{more:?}: {expected} bytes expected, {found} found");
        fs::remove_dir_all(&out).unwrap();
    }
}

#[test]
fn as_few_layers_are_checkpointed_as_the_memory_asks_for_or_the_run_is_refused() {
    let Some(bench) = Bench::new("models/tinystories-chat-3M", 1, 14_000) else { return };
    let (tokens, model, out) = (dense(&bench), bench.model.to_str().unwrap().to_owned(), bench.path("out"));
    let common = [&tokens, "--model", &model, "--out", &out, "--batch-size", "16", "--max-steps", "1"];
    let plan = |memory: &str| -> Value {
        let (code, plan, stderr) = run(&[&common[..], &["--plan", "--json", "--memory", memory]].concat());
        assert_eq!(code, 0, "{stderr}");
        serde_json::from_str::<Value>(&plan).unwrap()["memory"].clone()
    };
    assert_eq!(plan("4GiB")["checkpointed_layers"], 0);
    let some = plan("260MiB");
    let layers = some["checkpointed_layers"].as_u64().unwrap();
    assert!(layers > 0 && layers < some["layers"].as_u64().unwrap(), "{some}");
    assert!(some["peak"].as_u64().unwrap() <= 260 << 20);

    let refused = |more: &[&str], expected: &[&str]| fail(&[&common[..], more].concat(), expected);
    refused(&["--memory", "120MiB"], &["--memory allows 120.0 MiB", "--gradient-accumulation", "--batch-size"]);
    refused(&["--memory", "260MiB", "--activation-checkpointing", "off"], &["--activation-checkpointing auto"]);
    // What is proposed fits.
    let lora = "--method lora --batch-size 1 --gradient-accumulation 16";
    let common = [&common[..5], &common[7..]].concat();
    let small = [&common[..], &["--memory", "140MiB"]].concat();
    fail(&[&small[..], &["--batch-size", "16", "--method", "full"]].concat(), &[lora]);
    let proposed: Vec<&str> = lora.split(' ').collect();
    assert_eq!(run(&[&small[..], &proposed, &["--plan"]].concat()).0, 0);
    fail(&[&common[..], &["--memory", "90MiB"]].concat(), &["a smaller model, or --memory of at least"]);
    refused(&["--memory", "10MiB"], &["the weights take", "smaller model"]);
    assert!(!Path::new(&out).join("manifest.json").exists());
    let (code, _, stderr) = run(&[&common[..], &["--memory", "much"]].concat());
    assert_eq!(code, 2, "{stderr}");
}

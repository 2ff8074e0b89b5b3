//! A tokenizer trained on the data.

use super::{chats, data_folder, retune, rows, trained_texts};
use artifact::Split;
use predicates::str::contains;

#[test]
fn a_new_tokenizer_is_exact_and_the_same_for_any_number_of_threads() {
    let home = tempfile::tempdir().unwrap();
    let data = data_folder(&home.path().join("data"), &[(Split::Train, chats(300)), (Split::Validation, chats(5))]);
    let files = ["tokenizer.json", "tokenizer_config.json", "train.parquet"];
    let outputs = ["1", "2", "2"].into_iter().enumerate().map(|(index, threads)| {
        let out = home.path().join(format!("tokens-{index}"));
        retune()
            .arg(&data)
            .args(["--new-tokenizer", "bpe:400", "--threads", threads, "--out"])
            .arg(&out)
            .assert()
            .success();
        (files.map(|file| std::fs::read(out.join(file)).unwrap()), out)
    });
    let outputs: Vec<_> = outputs.collect();
    assert!(outputs[0].0 == outputs[1].0 && outputs[1].0 == outputs[2].0);
    let out = &outputs[0].1;
    let tokenizer = encoding::Tokenizer::open(out).unwrap();
    assert_eq!(tokenizer.vocabulary_size(), 400);
    assert_eq!(tokenizer.eos(), Some(0));
    let first = &rows(&out.join("validation.parquet"))[0];
    assert_eq!(trained_texts(out, first)[0], " It is 2.<|endoftext|>");
    // The tokens' folder serves as a model's folder for the next data set.
    let again = home.path().join("again");
    retune().arg(&data).arg("--model").arg(out).arg("--out").arg(&again).assert().success();
    assert_eq!(std::fs::read(again.join("train.parquet")).unwrap(), outputs[0].0[2]);
}

#[test]
fn sizes_that_cannot_be_are_refused() {
    let home = tempfile::tempdir().unwrap();
    let data = data_folder(&home.path().join("data"), &[(Split::Train, chats(3))]);
    let run = |size: &str| {
        let mut command = retune();
        command.arg(&data).args(["--new-tokenizer", size, "--out"]).arg(home.path().join("tokens"));
        command
    };
    run("bpe:100").assert().code(2).stderr(contains("expected 258"));
    run("unigram:100").assert().code(2).stderr(contains("expected 258"));
    run("unigram").assert().code(2).stderr(contains("unigram:SIZE"));
    let twice = ["--special-token", "eos=</s>", "--special-token", "eos=<end>"];
    run("bpe:300").args(twice).assert().code(2).stderr(contains("eos is named twice, the second time as <end>"));
    let role = ["--special-token", "unk=<unk>"];
    run("bpe:300").args(role).assert().code(2).stderr(contains("`unk` is no role of a special token"));
    run("bpe:300").args(["--special-token", "<a=b>"]).assert().success();
    run("bpe:100000").assert().success().stderr(contains("smaller than the 100000 asked for"));
}

#[test]
fn a_unigram_tokenizer_spells_everything_and_has_the_special_tokens_asked_for() {
    let home = tempfile::tempdir().unwrap();
    let data = data_folder(&home.path().join("data"), &[(Split::Train, chats(300)), (Split::Validation, chats(5))]);
    let out = home.path().join("tokens");
    let mut bytes = Vec::new();
    for threads in ["1", "2"] {
        let mut command = retune();
        command.arg(&data).args(["--new-tokenizer", "unigram:340", "--threads", threads, "--force", "--out"]).arg(&out);
        command.args(["--special-token", "bos=<s>", "--special-token", "eos=</s>", "--special-token", "<tool>"]);
        command.assert().success();
        bytes.push(
            ["tokenizer.json", "tokenizer_config.json", "train.parquet"]
                .map(|file| std::fs::read(out.join(file)).unwrap()),
        );
    }
    assert!(bytes[0] == bytes[1]);
    let tokenizer = encoding::Tokenizer::open(&out).unwrap();
    let id = |token: &str| tokenizer.id(token).unwrap();
    assert_eq!(["</s>", "<|pad|>", "<s>", "<tool>"].map(id), [0, 1, 2, 3]);
    assert!(tokenizer.vocabulary_size() <= 340 && tokenizer.is_special(3));
    for text in ["What is 3 plus 3?", "  two  spaces\nand lines ", "ungelernt: Ж 字 👩‍👧 \u{0}", ""] {
        let encoded = tokenizer.encode(text, encoding::Specials::None).unwrap();
        assert_eq!(tokenizer.decode(&encoded.ids, false).unwrap(), text);
        assert!(encoded.ids.iter().all(|id| Some(*id) != tokenizer.unknown()));
    }
    let first = &rows(&out.join("validation.parquet"))[0];
    assert_eq!(first.input_ids.iter().filter(|id| **id == 2).count(), first.examples.len());
    assert_eq!(trained_texts(&out, first)[0], " It is 2.</s>");
}

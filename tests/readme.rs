//! What the README and its neighbours tell people to type: it exists, and the marked commands work.
//!
//! A fenced block of shell code below the line `<!-- tested -->` is run: all of them in the order of the file, in one
//! temporary folder with a copy of the repository's pipelines, with the programs on the PATH. Later blocks see what earlier
//! ones made.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::house::program_names;

const MARK: &str = "<!-- tested -->";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn programs_folder() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_retune-ingest")).parent().unwrap()
}

/// A page's fenced blocks of shell code, each with whether it is marked as tested.
fn shell_blocks(text: &str) -> Vec<(bool, String)> {
    let mut blocks = Vec::new();
    let mut before = "";
    let mut open: Option<(bool, String)> = None;
    for line in text.lines() {
        if let Some((_, block)) = open.as_mut().filter(|_| line != "```") {
            block.push_str(line);
            block.push('\n');
        } else if let Some(block) = open.take() {
            blocks.push(block);
        } else if line == "```sh" {
            open = Some((before == MARK, String::new()));
        }
        if !line.trim().is_empty() {
            before = line;
        }
    }
    blocks
}

/// Pages for people, with their names.
fn pages() -> Vec<(String, String)> {
    let names = ["README.md", "CONTRIBUTING.md", "ARCHITECTURE.md", "pipelines/README.md"];
    names.iter().filter_map(|name| Some((name.to_string(), fs::read_to_string(root().join(name)).ok()?))).collect()
}

#[test]
fn marked_blocks_are_found() {
    let text = "a\n```sh\nfirst\n```\n<!-- tested -->\n\n```sh\nsecond\nthird\n```\n```toml\nx\n```\n";
    assert_eq!(shell_blocks(text), [(false, "first\n".to_owned()), (true, "second\nthird\n".to_owned())]);
}

#[test]
fn programs_flags_and_targets_in_the_pages_exist() {
    let programs = program_names();
    let makefile = fs::read_to_string(root().join("Makefile")).unwrap();
    let engine = fs::read_to_string(root().join("pipelines/common.mk")).unwrap();
    let mut wrong = Vec::new();
    for (page, text) in pages() {
        for command in shell_blocks(&text)
            .iter()
            .flat_map(|(_, block)| block.replace("\\\n", " ").lines().map(str::to_owned).collect::<Vec<_>>())
        {
            let words: Vec<&str> = command.split('#').next().unwrap().split_whitespace().collect();
            match words.first() {
                Some(&"make") => {
                    let elsewhere = words.contains(&"-C") || words.contains(&"-f");
                    let targets = words[1..]
                        .iter()
                        .filter(|word| !word.starts_with('-') && !word.contains(['=', '/', '&', '|', '>']));
                    let rules = if elsewhere { &engine } else { &makefile };
                    wrong.extend(
                        targets
                            .filter(|target| !rules.contains(&format!("\n{target}:")))
                            .map(|target| format!("{page}: make {target}")),
                    );
                }
                Some(name) if name.starts_with("retune-") => {
                    if !programs.contains(*name) {
                        wrong.push(format!("{page}: {name}"));
                        continue;
                    }
                    let help = Command::new(programs_folder().join(name)).arg("--help").output().unwrap();
                    let help = String::from_utf8(help.stdout).unwrap();
                    let flags =
                        words.iter().filter(|word| word.starts_with("--")).map(|word| word.split('=').next().unwrap());
                    wrong.extend(
                        flags.filter(|flag| !help.contains(*flag)).map(|flag| format!("{page}: {name} {flag}")),
                    );
                }
                _ => {}
            }
        }
    }
    assert_eq!(wrong, [""; 0]);
}

#[test]
fn marked_commands_of_the_readme_work() {
    let Ok(readme) = fs::read_to_string(root().join("README.md")) else { return };
    let script: String =
        shell_blocks(&readme).into_iter().filter(|(tested, _)| *tested).map(|(_, block)| block).collect();
    let folder = tempfile::tempdir().unwrap();
    let copied = Command::new("cp").arg("-R").arg(root().join("pipelines")).arg(folder.path()).status().unwrap();
    assert!(copied.success());
    let path = std::env::join_paths(
        [programs_folder().to_owned()].into_iter().chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())),
    );
    let output = Command::new("bash")
        .args(["-euxo", "pipefail", "-c", &script])
        .current_dir(folder.path())
        .env("PATH", path.unwrap())
        .env("BIN", programs_folder())
        .env_remove("MAKEFLAGS")
        .env_remove("MAKELEVEL")
        .output()
        .unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "a command of the README failed:\n{text}");
}

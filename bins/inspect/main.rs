//! `retune-inspect`: says of any artifact what it is, where it came from and whether it is whole; of a token, its
//! source and whether it is trained on.

mod args;
mod artifact_folder;
mod gguf;
mod json_file;
mod model_folder;
mod provenance;
mod run;
mod table;
mod token_row;
mod tokenizer_file;
mod verify;
mod view;
mod weights_file;

use retune as _;

fn main() -> std::process::ExitCode {
    cli::main(run::run)
}

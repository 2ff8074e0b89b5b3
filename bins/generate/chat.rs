//! A conversation at the terminal: the user's lines from standard input, answers as they come to standard output.

use std::io::{self, BufRead, IsTerminal};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use anyhow::Result;
use artifact::Message;
use generation::Finish;

use crate::session::Session;

const HELP: &str = "/exit ends the conversation, /reset forgets it, /help shows this";

/// Talks until the user ends it. Returns the conversation, and whether it was interrupted.
pub(crate) fn talk(session: &Session) -> Result<(Vec<Message>, bool)> {
    if session.uses_default_template() {
        cli::note("the model has no chat template: retune's own is used; name another with --chat-template FILE");
    }
    cli::say(HELP);
    let lines = lines();
    let mut messages = session.opening();
    loop {
        ask();
        let Some(line) = next(&lines, session) else { return Ok((messages, session.interrupted())) };
        match line.trim() {
            "" => {}
            "/exit" | "/quit" => return Ok((messages, false)),
            "/help" => cli::say(HELP),
            "/reset" => messages = session.opening(),
            command if command.starts_with('/') => cli::say(&format!("{command} is no command; {HELP}")),
            text => answer(session, &mut messages, text)?,
        }
        if session.interrupted() {
            return Ok((messages, true));
        }
    }
}

/// Adds the user's message and the model's answer to the conversation.
fn answer(session: &Session, messages: &mut Vec<Message>, text: &str) -> Result<()> {
    messages.push(Message::new("user", text));
    let tokens = session.encode_chat(messages)?;
    let results = session.generate(&[tokens], true)?;
    let result = &results[0];
    if result.finish == Finish::PromptTooLong {
        cli::say("the conversation has grown longer than the model's context: /reset begins a new one");
        messages.pop();
        return Ok(());
    }
    cli::print("\n")?;
    messages.push(Message::new("assistant", result.text.as_str()));
    Ok(())
}

/// The sign that it is the user's turn, where a person is there to see it.
fn ask() {
    if io::stdin().is_terminal() && !cli::is_quiet() {
        use std::io::Write;
        let mut out = io::stderr().lock();
        // Nothing can be done where even standard error is closed.
        let _ = out.write_all(b"> ").and_then(|()| out.flush());
    }
}

/// Reads lines on a thread of its own, so that Ctrl-C is noticed while waiting for one.
fn lines() -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        // By bytes: a character that is not UTF-8 is shown as such, and does not end the conversation.
        for line in io::stdin().lock().split(b'\n') {
            let Ok(line) = line else { return };
            if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                return;
            }
        }
    });
    receiver
}

/// The user's next line; none at the end of input, or when asked to stop.
fn next(lines: &mpsc::Receiver<String>, session: &Session) -> Option<String> {
    while !session.interrupted() {
        match lines.recv_timeout(Duration::from_millis(50)) {
            Ok(line) => return Some(line),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return None,
        }
    }
    None
}

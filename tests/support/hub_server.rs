//! A hub on this machine: as much of Hugging Face's protocol as a download uses, with the faults that downloads meet.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

use sha2::{Digest, Sha256};

/// The commit of everything on this hub.
pub(crate) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
/// Larger files are stored apart from the repository, as on the real hub, and fetched by way of a redirect.
const LARGE: usize = 20_000;

/// One answer that breaks off, or that holds wrong bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The connection ends after so many bytes of the file, this once.
    CutAfter(usize),
    /// The same, and no later answer gives parts: each sends the whole file.
    CutAfterWithoutRanges(usize),
    /// Each answer has a wrong byte.
    Damaged,
}

#[derive(Clone, Debug, Default)]
struct Content {
    files: BTreeMap<String, Vec<u8>>,
    faults: BTreeMap<String, Fault>,
    without_ranges: bool,
    /// Who may have the files: whoever sends this token.
    gated: Option<String>,
    down: bool,
    log: Vec<String>,
}

/// The hub; it ends with the test's process.
pub(crate) struct HubServer {
    port: u16,
    content: Arc<Mutex<Content>>,
}

impl HubServer {
    /// A hub with one model, `org/model`, at `main` and at `refs/pr/1`: the files of `folder`.
    pub(crate) fn of_folder(folder: &Path) -> Self {
        let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
        Self::of_files(
            files.map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), std::fs::read(&path).unwrap())),
        )
    }

    /// The same with these files.
    pub(crate) fn of_files(files: impl IntoIterator<Item = (String, Vec<u8>)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let content = Arc::new(Mutex::new(Content { files: files.into_iter().collect(), ..Content::default() }));
        let shared = content.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let shared = shared.clone();
                std::thread::spawn(move || answer(stream.unwrap(), port, &shared));
            }
        });
        Self { port, content }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn fault(&self, file: &str, fault: Fault) {
        self.content.lock().unwrap().faults.insert(file.into(), fault);
    }

    pub(crate) fn gate(&self, token: &str) {
        self.content.lock().unwrap().gated = Some(token.into());
    }

    /// From now on every answer is 503, or no longer.
    pub(crate) fn set_down(&self, down: bool) {
        self.content.lock().unwrap().down = down;
    }

    /// The requests since the last call: method, path, range.
    pub(crate) fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.content.lock().unwrap().log)
    }
}

struct Request {
    method: String,
    path: String,
    headers: BTreeMap<String, String>,
}

fn answer(mut stream: TcpStream, port: u16, shared: &Mutex<Content>) {
    let Some(request) = read(&stream) else { return };
    let content = {
        let mut content = shared.lock().unwrap();
        let range = request.headers.get("range").map(|range| format!(" {range}")).unwrap_or_default();
        let signed = if request.headers.contains_key("authorization") { " signed" } else { "" };
        content.log.push(format!("{} {}{range}{signed}", request.method, request.path));
        content.clone()
    };
    let parts: Vec<&str> = request.path.trim_start_matches('/').split('/').collect();
    let allowed = content.gated.as_ref().is_none_or(|token| {
        request.headers.get("authorization").is_some_and(|found| *found == format!("Bearer {token}"))
    });
    let error = |code: &str| format!("X-Error-Code: {code}\r\n");
    let mut reply =
        |status: &str, headers: &str, body: &[u8]| respond(&mut stream, &request, status, headers, body, None);
    match parts.as_slice() {
        _ if content.down => reply("503 Service Unavailable", "", b""),
        ["api", "models", "org", "model", "revision", "main" | "refs%2Fpr%2F1" | COMMIT] => {
            let siblings: Vec<_> = content.files.keys().map(|name| serde_json::json!({ "rfilename": name })).collect();
            let body = serde_json::json!({ "id": "org/model", "sha": COMMIT, "siblings": siblings }).to_string();
            reply("200 OK", "Content-Type: application/json\r\n", body.as_bytes());
        }
        ["api", "models", "org", "model", "revision", _] => reply("404 Not Found", &error("RevisionNotFound"), b""),
        ["api", "models", ..] => reply("404 Not Found", &error("RepoNotFound"), b""),
        ["org", "model", "resolve", COMMIT, _] if !allowed => {
            let said = "X-Error-Message: Access to model org/model is restricted\r\n";
            reply("401 Unauthorized", &(error("GatedRepo") + said), b"");
        }
        ["org", "model", "resolve", COMMIT, file] => match content.files.get(*file) {
            None => reply("404 Not Found", &error("EntryNotFound"), b""),
            Some(bytes) if bytes.len() >= LARGE => {
                let sha = hexadecimal(&Sha256::digest(bytes));
                // Another host, as the real hub's store is one: it must not see the token.
                let headers = format!(
                    "Location: http://localhost:{port}/store/{file}\r\nX-Linked-Etag: \"{sha}\"\r\n\
                     X-Linked-Size: {}\r\nX-Repo-Commit: {COMMIT}\r\n",
                    bytes.len()
                );
                reply("302 Found", &headers, b"gone to the store");
            }
            Some(bytes) => {
                let headers = format!("ETag: \"{}\"\r\nX-Repo-Commit: {COMMIT}\r\n", git_hash(bytes));
                send(&mut stream, &request, &content, shared, file, bytes, &headers);
            }
        },
        ["store", file] => send(&mut stream, &request, &content, shared, file, &content.files[*file], ""),
        _ => reply("404 Not Found", "", b""),
    }
}

/// A file's bytes, or the part of them that is asked for, with the fault that is set.
fn send(
    stream: &mut TcpStream,
    request: &Request,
    content: &Content,
    shared: &Mutex<Content>,
    file: &str,
    bytes: &[u8],
    headers: &str,
) {
    let mut bytes = bytes.to_vec();
    let mut cut = None;
    if request.method == "GET" {
        match content.faults.get(file) {
            Some(Fault::Damaged) => bytes[0] ^= 1,
            Some(Fault::CutAfter(at) | Fault::CutAfterWithoutRanges(at)) => {
                cut = Some(*at);
                let mut shared = shared.lock().unwrap();
                let fault = shared.faults.remove(file);
                shared.without_ranges |= matches!(fault, Some(Fault::CutAfterWithoutRanges(_)));
            }
            None => {}
        }
    }
    let range = request.headers.get("range").filter(|_| !content.without_ranges);
    match range.and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok()) {
        Some(start) => {
            let headers = format!("{headers}Content-Range: bytes {start}-{}/{}\r\n", bytes.len() - 1, bytes.len());
            respond(stream, request, "206 Partial Content", &headers, &bytes[start..], cut);
        }
        None => respond(stream, request, "200 OK", headers, &bytes, cut),
    }
}

fn read(stream: &TcpStream) -> Option<Request> {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next()?.ok()?;
    let mut words = first.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = BTreeMap::new();
    for line in lines {
        let line = line.ok()?;
        let Some((name, value)) = line.split_once(':') else { break };
        headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
    Some(Request { method, path, headers })
}

fn respond(stream: &mut TcpStream, request: &Request, status: &str, headers: &str, body: &[u8], cut: Option<usize>) {
    let head = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    let body = if request.method == "HEAD" { &[] } else { &body[..cut.unwrap_or(body.len()).min(body.len())] };
    // A client that went away is not the server's concern.
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
}

/// What Git names these bytes.
pub(crate) fn git_hash(bytes: &[u8]) -> String {
    let mut hasher = sha1::Sha1::new();
    hasher.update(format!("blob {}\0", bytes.len()));
    hasher.update(bytes);
    hexadecimal(&hasher.finalize())
}

pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

//! The hub's protocol: what a revision holds, what a file is, and its bytes.

use std::io::Read;
use std::time::Duration;

use hf_hub::{Repo, RepoType};
use serde::Deserialize;
use ureq::config::RedirectAuthHeaders;
use ureq::http::{HeaderMap, Response};
use ureq::{Agent, Body};

use crate::error::HubError;
use crate::name::is_commit;
use crate::{ModelName, Result, Settings};

/// A file's headers and small documents come within this time, or the hub counts as unreachable.
const PATIENCE: Duration = Duration::from_secs(30);
/// A hub answers redirects within itself this often at most.
const MOST_REDIRECTS: usize = 5;

/// A connection to one hub.
pub(crate) struct Client {
    agent: Agent,
    endpoint: String,
    token: Option<String>,
}

/// What the hub says of a revision.
#[derive(Deserialize)]
pub(crate) struct Revision {
    /// The commit.
    #[serde(rename = "sha")]
    pub(crate) commit: String,
    #[serde(default)]
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
}

impl Revision {
    /// Whether the revision holds a file of this name.
    pub(crate) fn holds(&self, file: &str) -> bool {
        self.siblings.iter().any(|sibling| sibling.rfilename == file)
    }

    /// A file whose name ends so.
    pub(crate) fn ending_in(&self, end: &str) -> Option<&str> {
        self.siblings.iter().map(|sibling| sibling.rfilename.as_str()).find(|name| name.ends_with(end))
    }
}

/// What the hub says of a file before it is fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FileFacts {
    /// Names its content: a SHA-256 for large files, Git's hash for small ones.
    pub(crate) etag: String,
    /// Bytes.
    pub(crate) size: u64,
}

impl Client {
    pub(crate) fn new(settings: &Settings) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .redirect_auth_headers(RedirectAuthHeaders::SameHost)
            .max_redirects_will_error(false)
            .timeout_connect(Some(PATIENCE))
            .timeout_recv_response(Some(PATIENCE))
            .timeout_per_read(Some(PATIENCE))
            .user_agent(format!("retune/{}", env!("CARGO_PKG_VERSION")))
            // Sizes and hashes are those of the bytes as they are.
            .accept_encoding("identity")
            .build();
        Self { agent: config.into(), endpoint: settings.endpoint.clone(), token: settings.token.clone() }
    }

    /// Which commit a revision is, and which files it holds.
    pub(crate) fn revision(&self, name: &ModelName) -> Result<Revision> {
        let address = format!("{}/api/{}", self.endpoint, repository(name).api_url());
        let mut response = self.ask("GET", &address, None, true)?;
        if response.status() == 404 && error_code(response.headers()).is_none() {
            return Err(self.what_is_missing(name));
        }
        self.check(&response, name, &address)?;
        let text = response.body_mut().read_to_string().map_err(|error| unreachable(&address, &error))?;
        let wrong = |what: String| HubError::NotAHub { address: address.clone(), what };
        let revision: Revision = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        if !is_commit(&revision.commit) {
            return Err(wrong(format!("the commit is {:?}", revision.commit)));
        }
        Ok(revision)
    }

    /// Size and hash of a file. `None` where the commit does not hold it.
    pub(crate) fn facts(&self, name: &ModelName, commit: &str, file: &str) -> Result<Option<FileFacts>> {
        let mut address = self.file_address(name, commit, file);
        for _ in 0..MOST_REDIRECTS {
            let response = self.ask("HEAD", &address, None, false)?;
            let headers = response.headers();
            let says_all = headers.contains_key("x-linked-etag") && headers.contains_key("x-linked-size");
            if response.status().is_redirection() && !says_all {
                // Within the hub, as when a repository was renamed; what leads elsewhere says all before it goes.
                match text(headers, "location").filter(|place| place.starts_with('/')) {
                    Some(place) => address = format!("{}{place}", origin(&self.endpoint)),
                    None => {
                        return Err(HubError::NotAHub { address, what: "it redirects without size and hash".into() });
                    }
                }
                continue;
            }
            if response.status() == 404 {
                return Ok(None);
            }
            if !response.status().is_redirection() {
                self.check(&response, name, &address)?;
            }
            return facts_of(headers).map(Some).map_err(|what| HubError::NotAHub { address, what });
        }
        Err(HubError::NotAHub { address, what: "it redirects again and again".into() })
    }

    /// A file's bytes from `start` on, and where they really start: 0 where the server does not give parts.
    pub(crate) fn bytes(
        &self,
        name: &ModelName,
        commit: &str,
        file: &str,
        start: u64,
    ) -> Result<(u64, impl Read + use<>)> {
        let address = self.file_address(name, commit, file);
        let response = self.ask("GET", &address, (start > 0).then_some(start), true)?;
        self.check(&response, name, &address)?;
        let begins = if response.status() == 206 { start } else { 0 };
        Ok((begins, response.into_body().into_reader()))
    }

    /// Where a file of a commit lies.
    pub(crate) fn file_address(&self, name: &ModelName, commit: &str, file: &str) -> String {
        format!("{}/{}/resolve/{commit}/{file}", self.endpoint, repository(name).url())
    }

    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    fn ask(&self, method: &str, address: &str, start: Option<u64>, follow: bool) -> Result<Response<Body>> {
        let request = if method == "HEAD" { self.agent.head(address) } else { self.agent.get(address) };
        let mut request = request.config().max_redirects(if follow { 10 } else { 0 }).build();
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if let Some(start) = start {
            request = request.header("range", format!("bytes={start}-"));
        }
        request.call().map_err(|error| unreachable(address, &error))
    }

    /// Whether the model is missing, or only its revision, where the hub does not say.
    fn what_is_missing(&self, name: &ModelName) -> HubError {
        let whole = format!("{}/api/models/{}", self.endpoint, name.repository());
        match self.ask("GET", &whole, None, true) {
            Ok(response) if response.status().is_success() => self.no_revision(name),
            _ => self.no_repository(name),
        }
    }

    fn no_revision(&self, name: &ModelName) -> HubError {
        HubError::NoRevision { endpoint: self.endpoint.clone(), name: name.clone() }
    }

    fn no_repository(&self, name: &ModelName) -> HubError {
        let signed_in = self.token.is_some();
        HubError::NoRepository { endpoint: self.endpoint.clone(), name: name.clone(), signed_in }
    }

    fn check(&self, response: &Response<Body>, name: &ModelName, address: &str) -> Result<()> {
        let (status, headers) = (response.status().as_u16(), response.headers());
        if response.status().is_success() {
            return Ok(());
        }
        let said = text(headers, "x-error-message").unwrap_or_default();
        Err(match (status, error_code(headers).as_deref()) {
            (_, Some("RepoNotFound")) => self.no_repository(name),
            (_, Some("RevisionNotFound")) => self.no_revision(name),
            (401 | 403, _) => HubError::Refused {
                endpoint: self.endpoint.clone(),
                name: name.clone(),
                signed_in: self.token.is_some(),
                said: if said.is_empty() { format!("it answers {status}") } else { said },
            },
            _ => HubError::Answer { address: address.to_owned(), status, said },
        })
    }
}

/// The repository as hf-hub names it in addresses and folders.
pub(crate) fn repository(name: &ModelName) -> Repo {
    Repo::with_revision(name.repository().to_owned(), RepoType::Model, name.revision().to_owned())
}

fn facts_of(headers: &HeaderMap) -> Result<FileFacts, String> {
    let etag = text(headers, "x-linked-etag").or_else(|| text(headers, "etag")).ok_or("it gives no ETag")?;
    let etag = etag.trim_start_matches("W/").trim_matches('"').to_owned();
    let harmless = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if etag.is_empty() || !etag.bytes().all(harmless) {
        return Err(format!("its ETag is {etag:?}"));
    }
    let size = text(headers, "x-linked-size").or_else(|| text(headers, "content-length")).ok_or("it gives no size")?;
    let size = size.parse().map_err(|_| format!("its size is {size:?}"))?;
    Ok(FileFacts { etag, size })
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.trim().to_owned())
}

/// What the hub says went wrong, in a word.
fn error_code(headers: &HeaderMap) -> Option<String> {
    text(headers, "x-error-code").filter(|code| !code.is_empty())
}

/// Scheme and host of an address.
fn origin(endpoint: &str) -> &str {
    let host = endpoint.find("://").map_or(0, |at| at + 3);
    endpoint[host..].find('/').map_or(endpoint, |at| &endpoint[..host + at])
}

fn unreachable(address: &str, error: &ureq::Error) -> HubError {
    HubError::Unreachable { address: address.to_owned(), why: error.to_string() }
}

//! One file from the hub to the cache: in as many tries as it takes, going on where the last one broke off, and kept only
//! if it hashes to what the hub promised.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::time::Duration;

use sha1::Sha1;
use sha2::{Digest, Sha256};

use crate::client::{Client, FileFacts};
use crate::error::HubError;
use crate::store::Store;
use crate::{ModelName, Reporter, Result};

/// Tries in a row that bring nothing before it is given up.
const FRUITLESS_TRIES: u32 = 5;
/// The first wait between tries; each further one is twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(200);
const BUFFER: usize = 1 << 18;

/// A file of a commit, on its way.
pub(crate) struct Download<'a> {
    pub(crate) client: &'a Client,
    pub(crate) store: &'a Store,
    pub(crate) name: &'a ModelName,
    pub(crate) commit: &'a str,
    pub(crate) file: &'a str,
    pub(crate) facts: &'a FileFacts,
}

impl Download<'_> {
    /// Brings the file into the cache, unless it is there.
    pub(crate) fn run(&self, reporter: &mut dyn Reporter) -> Result<()> {
        let etag = &self.facts.etag;
        let _lock = self.store.lock(etag)?;
        if !self.store.blob(etag).is_file() {
            let resumed = self.gather(reporter)?;
            match self.verify() {
                // What an earlier run left may be the damaged part.
                Err(HubError::WrongHash { .. }) if resumed => {
                    self.gather(reporter)?;
                    self.verify()?;
                }
                other => other?,
            }
            self.store.finish(etag)?;
        }
        self.store.link(self.commit, self.file, etag)
    }

    /// Lets the bytes come until there are as many as promised. Whether some were there before.
    fn gather(&self, reporter: &mut dyn Reporter) -> Result<bool> {
        let path = self.store.unfinished(&self.facts.etag);
        let mut part = self.store.open_unfinished(&self.facts.etag)?;
        let length = |part: &File| Ok(part.metadata().map_err(HubError::io("read", &path))?.len());
        if length(&part)? > self.facts.size {
            part.set_len(0).map_err(HubError::io("write", &path))?;
        }
        let already = length(&part)?;
        reporter.begin(self.file, self.facts.size, already);
        let (mut longest, mut fruitless) = (already, 0);
        while length(&part)? < self.facts.size {
            let failure = match self.try_once(&mut part, reporter) {
                Ok(()) => continue,
                Err(error) if error.is_outage() => error,
                Err(error) => return Err(error),
            };
            let reached = length(&part)?;
            fruitless = if reached > longest { 0 } else { fruitless + 1 };
            longest = longest.max(reached);
            if fruitless == FRUITLESS_TRIES {
                return Err(failure);
            }
            tracing::info!("{}: {failure}; going on at byte {reached}", self.file);
            std::thread::sleep(FIRST_WAIT * 2u32.pow(fruitless));
        }
        part.sync_all().map_err(HubError::io("write", &path))?;
        reporter.end();
        Ok(already > 0)
    }

    /// One connection: writes what it gives, to its end or until it breaks off.
    fn try_once(&self, part: &mut File, reporter: &mut dyn Reporter) -> Result<()> {
        let path = self.store.unfinished(&self.facts.etag);
        let start = part.metadata().map_err(HubError::io("read", &path))?.len();
        let (mut at, mut bytes) = self.client.bytes(self.name, self.commit, self.file, start)?;
        if at != start {
            // The server sends the whole file again.
            part.set_len(at).map_err(HubError::io("write", &path))?;
        }
        let mut buffer = vec![0; BUFFER];
        let broken = |why: String| HubError::Unreachable {
            address: self.client.file_address(self.name, self.commit, self.file),
            why,
        };
        loop {
            let read = match bytes.read(&mut buffer) {
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(broken(format!("the connection broke off: {error}"))),
            };
            let room = (self.facts.size - at) as usize;
            if read > room {
                self.store.discard(&self.facts.etag);
                return Err(self.wrong("size", self.facts.size.to_string(), "more".into()));
            }
            if read == 0 {
                return if at == self.facts.size { Ok(()) } else { Err(broken("the connection broke off".into())) };
            }
            part.write_all(&buffer[..read]).map_err(HubError::io("write", &path))?;
            at += read as u64;
            reporter.at(at);
        }
    }

    /// Compares what came with what was promised; what differs is thrown away.
    fn verify(&self) -> Result<()> {
        let FileFacts { etag, size } = self.facts;
        let path = self.store.unfinished(etag);
        let failed = HubError::io("read", &path);
        let mut part = self.store.open_unfinished(etag)?;
        let (kind, found) = match etag.len() {
            64 => ("SHA-256", hash::<Sha256>(&mut part, "").map_err(failed)?),
            40 => ("Git hash", hash::<Sha1>(&mut part, &format!("blob {size}\0")).map_err(failed)?),
            _ => {
                tracing::warn!(
                    "{}: the hub names its content {etag}, which is no hash: only its size is checked",
                    self.file
                );
                return Ok(());
            }
        };
        if found == etag.to_lowercase() {
            return Ok(());
        }
        self.store.discard(etag);
        Err(self.wrong(kind, etag.clone(), found))
    }

    fn wrong(&self, kind: &'static str, expected: String, found: String) -> HubError {
        HubError::WrongHash { name: self.name.clone(), file: self.file.into(), kind, expected, found }
    }
}

/// The hash of `prefix` and all bytes of a file, in hexadecimal.
fn hash<D: Digest>(file: &mut File, prefix: &str) -> io::Result<String> {
    file.seek(SeekFrom::Start(0))?;
    let mut hasher = D::new();
    hasher.update(prefix);
    let mut buffer = vec![0; BUFFER];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect());
        }
        hasher.update(&buffer[..read]);
    }
}

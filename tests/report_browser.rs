//! Reports as a browser sees them: headless Chromium opens each page, nothing is asked of the network, nothing is logged as
//! an error, and nothing is wider than the screen.

use std::fs;
use std::io::Read;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use report::{
    BarChart, Block, Cell, Comparison, Difference, Document, Figure, LineChart, Marker, Point, Section, Series,
    Setting, SideText, Table, Tone, Verdict,
};
use tempfile::TempDir;

/// A browser, by the usual names or by `$CHROMIUM`.
fn chromium() -> Option<PathBuf> {
    let named = std::env::var_os("CHROMIUM").map(PathBuf::from);
    let folders: Vec<PathBuf> = std::env::split_paths(&std::env::var_os("PATH")?).collect();
    let names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
    let found = names.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    named.into_iter().chain(found).find(|path| path.is_file())
}

/// A report with every kind of block, and texts that would like to be markup.
fn everything() -> Document {
    let hostile = "<img src=http://example.invalid/x onerror=alert(1)> & \"quotes\" — 中文 ".repeat(3);
    let long_word = "w".repeat(300);
    let points = |from: f64| (0..600).map(|x| Point { x: f64::from(x), y: from / f64::from(x + 1) }).collect();
    let mut wide = Table::new("A wide table", &["Name"; 1]);
    wide.columns.extend((0..24).map(|n| report::Column { name: format!("class-{n}"), numeric: true }));
    wide.rows.push(std::iter::once(Cell::plain(hostile.clone())).chain((0..24).map(|n| Cell::shaded(n, 24))).collect());
    let side =
        |label: &str, text: &str| SideText { label: label.into(), text: Difference::between(text, "the right one") };
    Document {
        title: format!("Everything, {hostile}"),
        subtitle: long_word.clone(),
        verdict: Verdict {
            tone: Tone::Caution,
            sentence: hostile.clone(),
            notes: vec![long_word.clone(), "a note".into()],
        },
        sections: vec![
            Section::new("Figures", "A lead.")
                .with(Block::Figures {
                    figures: (0..5)
                        .map(|n| Figure {
                            label: format!("Figure {n}"),
                            value: "12,345,678".into(),
                            detail: Some("base 3".into()),
                            tone: Tone::Good,
                        })
                        .collect(),
                })
                .with(Block::Table(wide)),
            Section::new("Charts", "")
                .with(Block::Chart(LineChart {
                    title: "Loss".into(),
                    description: "It falls.".into(),
                    x_label: "step".into(),
                    y_label: "nats".into(),
                    series: vec![
                        Series { name: "training".into(), points: points(3.0), dots: false },
                        Series { name: "validation".into(), points: points(4.0), dots: true },
                    ],
                    markers: vec![Marker { x: 500.0, label: "best step 500: overfits from here".into() }],
                }))
                .with(Block::Bars(BarChart::histogram("Lengths", "words", "rows", 20, &[("a", (0..90).collect())]))),
            Section::new("Answers", "Side by side.").with(Block::Comparisons {
                comparisons: vec![Comparison {
                    title: long_word,
                    badge: "rougeL 0.1".into(),
                    tone: Tone::Bad,
                    prompt: hostile.clone(),
                    texts: vec![side("Tuned", &hostile), side("Base", "the wrong one")],
                }],
            }),
            Section::new("Settings", "")
                .with(Block::Settings { settings: vec![Setting { name: "sha256".into(), value: "ab".repeat(32) }] }),
        ],
    }
}

/// The browser's arguments; its connections go to `proxy`, which counts them.
fn browser(program: &Path, profile: &Path, proxy: u16) -> Command {
    let mut command = Command::new(program);
    command.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]);
    command.args(["--disable-background-networking", "--disable-component-update", "--disable-sync"]);
    command.args(["--disable-extensions", "--disable-dev-shm-usage", "--hide-scrollbars", "--enable-logging=stderr"]);
    command.arg(format!("--proxy-server=127.0.0.1:{proxy}")).arg("--proxy-bypass-list=<-loopback>");
    command.arg(format!("--user-data-dir={}", profile.display()));
    command.stdin(Stdio::null());
    command
}

/// What the browser says, or nothing where it does not start or hangs: that is no fault of the report.
fn output_of(mut command: Command) -> Option<Output> {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().ok()?;
    let begun = Instant::now();
    let (stdout, stderr) = (child.stdout.take()?, child.stderr.take()?);
    let read = |mut from: Box<dyn Read + Send>| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = from.read_to_end(&mut bytes);
            bytes
        })
    };
    let (stdout, stderr) = (read(Box::new(stdout)), read(Box::new(stderr)));
    let status = loop {
        match child.try_wait().ok()? {
            Some(status) => break status,
            None if begun.elapsed() > Duration::from_mins(3) => {
                let _ = (child.kill(), child.wait());
                return None;
            }
            None => std::thread::sleep(Duration::from_millis(50)),
        }
    };
    let output = Output { status, stdout: stdout.join().ok()?, stderr: stderr.join().ok()? };
    (status.success() && !output.stdout.is_empty()).then_some(output)
}

/// The page as the browser holds it after a script of ours has looked at it. The script and the frame are the test's, the
/// page within is the report, opened as a user opens it.
fn opened(program: &Path, page: &Path, width: u32) -> Option<(String, String, Vec<String>)> {
    let folder = TempDir::new().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let frame = folder.path().join("frame.html");
    let script = "const f=document.getElementById('f');\
        f.onload=()=>{const d=f.contentDocument,r=performance.getEntriesByType('resource')\
        .concat(f.contentWindow.performance.getEntriesByType('resource'))\
        .filter(e=>!e.name.startsWith('data:')&&!e.name.startsWith('file:'));\
        document.title=['loaded',d.documentElement.scrollWidth<=f.clientWidth,r.length,\
        d.querySelectorAll('main,header').length,d.querySelectorAll('svg[role=img]>title').length,\
        d.querySelectorAll('table').length===d.querySelectorAll('table>thead').length,\
        d.querySelectorAll('script,img,link[rel=stylesheet]').length].join(' ');};";
    let html = format!(
        "<!doctype html><title>waiting</title><iframe id=f style='border:0;width:{width}px;height:4000px'></iframe>\
         <script>{script}f.src='{}';</script>",
        page.file_name().unwrap().to_str().unwrap()
    );
    fs::copy(page, folder.path().join(page.file_name().unwrap())).unwrap();
    fs::write(&frame, html).unwrap();
    let mut command = browser(program, &folder.path().join("profile"), listener.local_addr().unwrap().port());
    command.arg("--allow-file-access-from-files").arg("--virtual-time-budget=5000").arg("--dump-dom");
    command.arg(format!("file://{}", frame.display()));
    let output = output_of(command)?;
    // The browser's own errands go to its maker; whatever else came this way, the page asked for.
    let mut connections = Vec::new();
    while let Ok((mut stream, _)) = listener.accept() {
        let mut request = [0; 512];
        let _ = stream.set_nonblocking(false).and(stream.set_read_timeout(Some(Duration::from_millis(500))));
        let read = stream.read(&mut request).unwrap_or(0);
        let line = String::from_utf8_lossy(&request[..read]).lines().next().unwrap_or_default().to_owned();
        let own = line.is_empty() || ["google", "gstatic", "gvt1", "chromium"].iter().any(|maker| line.contains(maker));
        if !own {
            connections.push(line);
        }
    }
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Some((text(&output.stdout), text(&output.stderr), connections))
}

#[test]
fn chromium_opens_a_report_without_a_request_or_an_error() {
    let Some(program) = chromium() else {
        eprintln!("skipped: no Chromium on the PATH; set CHROMIUM to one");
        return;
    };
    let folder = TempDir::new().unwrap();
    let page = folder.path().join("report.html");
    fs::write(&page, everything().to_html().unwrap()).unwrap();
    for width in [360, 1280] {
        let Some((dom, log, connections)) = opened(&program, &page, width) else {
            eprintln!("skipped: {} does not start here", program.display());
            return;
        };
        let title = dom.split("<title>").nth(1).and_then(|rest| rest.split("</title>").next()).unwrap_or_default();
        assert_eq!(
            title, "loaded true 0 2 2 true 0",
            "at {width}: loaded, no wider than the screen, no request, two landmarks, two charts with titles, all tables with heads, nothing to fetch; {log}"
        );
        let complaints: Vec<&str> = log.lines().filter(|line| line.contains("CONSOLE")).collect();
        assert!(complaints.is_empty(), "{complaints:?}");
        assert!(connections.is_empty(), "at {width}: the page went out: {connections:?}");
    }
}

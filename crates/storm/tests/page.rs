//! The page of a storm, drawn by a real browser without a window: what it says is what the storm printed, it can
//! be zoomed and worked with, text in it is never markup, and nothing is fetched. Without chromium on the
//! PATH, or named by CHROMIUM, the tests say that they were skipped.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use serde_json::Value;

/// A browser without a window has no network to ask: what it would look up otherwise is turned off.
const CHROMIUM: [&str; 12] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--enable-logging=stderr",
    "--virtual-time-budget=5000",
    "--dump-dom",
];

/// Seconds after which a browser that hangs is ended.
const WAIT_TIMEOUT: &str = "120";

/// The storm of these tests: small, with at least two groups.
const STORM: &str = "--instances 80 --days 0.15 --seed 7";

/// What the storm printed, and its page.
static PLAYED: LazyLock<(String, String)> = LazyLock::new(|| {
    let folder = Folder::new("storm");
    let file = folder.0.join("storm.html");
    let run = Command::new(env!("CARGO_BIN_EXE_storm"))
        .args(STORM.split(' '))
        .arg("--report")
        .arg(&file)
        .output()
        .unwrap();
    let text = String::from_utf8(run.stdout).unwrap();
    assert!(run.status.success(), "{text}{}", String::from_utf8_lossy(&run.stderr));
    (text, fs::read_to_string(file).unwrap())
});

/// A folder that is gone afterwards.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("page-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left over is in the target folder.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The browser; `None` where there is none.
#[expect(clippy::disallowed_methods, reason = "where the browser is, is a matter of the machine")]
fn chromium() -> Option<OsString> {
    let named = std::env::var_os("CHROMIUM").filter(|program| !program.is_empty());
    let program = named.clone().unwrap_or_else(|| "chromium".into());
    let version =
        Command::new(&program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    match version {
        Ok(status) if status.success() => Some(program),
        // Who names a program wants the tests to run.
        result if named.is_some() => panic!("CHROMIUM is {program:?}, which does not work: {result:?}"),
        _ => {
            // Not by a macro: what those print is only shown of a test that fails.
            let _ = writeln!(
                std::io::stderr(),
                "skipped: there is no chromium on the PATH, and CHROMIUM names none"
            );
            None
        }
    }
}

/// The document as it is after the browser has drawn the page. No script may complain on the way.
fn drawn(chromium: &OsString, name: &str, page: &str, hash: &str, options: &[&str]) -> String {
    let folder = Folder::new(name);
    let file = folder.0.join("page.html");
    fs::write(&file, page).unwrap();
    let run = Command::new("timeout")
        .arg(WAIT_TIMEOUT)
        .arg(chromium)
        .args(CHROMIUM)
        .args(options)
        .arg(format!("--user-data-dir={}", folder.0.join("profile").display()))
        .arg(format!("file://{}{hash}", file.display()))
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{}: {errors}", run.status);
    let complaints: Vec<_> = errors.lines().filter(|line| line.contains("CONSOLE")).collect();
    assert!(complaints.is_empty(), "{complaints:#?}");
    let document = String::from_utf8(run.stdout).unwrap();
    assert!(document.contains(r#"data-drawn="yes""#), "it was not drawn to its end:\n{document:.3000}");
    document
}

/// The text between the element with this id and its first end of an element.
fn text_of<'a>(document: &'a str, id: &str) -> &'a str {
    let (_, rest) = document.split_once(&format!(r#"id="{id}""#)).unwrap();
    let (_, rest) = rest.split_once('>').unwrap();
    rest.split_once("</").unwrap().0
}

/// The first number in a text, thousands separated by commas or not.
fn number(text: &str) -> u64 {
    let digits = text.trim_start_matches(|c: char| !c.is_ascii_digit());
    let digits = digits.split(|c: char| !c.is_ascii_digit() && c != ',').next().unwrap();
    digits.replace(',', "").parse().unwrap()
}

/// The page with another script, which runs after its own and can leave a text in `#notes`.
fn with_script(page: &str, script: &str) -> String {
    page.replace("</body>", &format!(r#"<pre id="notes"></pre><script>{{{script}}}</script></body>"#))
}

/// How many pixels of each picture are not empty, and the colour of the paper.
const COUNT_PIXELS: &str = r#"
    const ids = ["overview", "population", "waits", "lives", "weather", "calls", "bucket", "lanes"];
    const inked = ids.map((id) => {
      const canvas = byId(id);
      const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
      return data.filter((value, index) => index % 4 === 3 && value > 0).length;
    });
    byId("notes").textContent = JSON.stringify({ inked, paper: getComputedStyle(document.body).backgroundColor });
"#;

#[test]
fn a_storm_is_the_same_with_a_page_and_without() {
    let run = Command::new(env!("CARGO_BIN_EXE_storm")).args(STORM.split(' ')).output().unwrap();
    let without = String::from_utf8(run.stdout).unwrap();
    let notes = |text: &str| {
        text.lines().filter(|line| !line.contains("of wall time")).map(str::to_owned).collect::<Vec<_>>()
    };
    assert!(without.trim_end().ends_with("Every invariant held."), "{without}");
    assert_eq!(notes(&without), notes(&PLAYED.0));
}

#[test]
fn a_page_needs_nothing_from_anywhere() {
    let page = &PLAYED.1;
    assert!(page.contains("default-src 'none'"), "its own policy forbids whatever it would fetch");
    for forbidden in ["src=", "@import", "url(", "http://", "https://", "innerHTML", "fetch("] {
        assert!(!page.contains(forbidden), "{forbidden} in the page");
    }
    assert!(page.len() < 1_000_000, "{} bytes for {STORM}", page.len());
}

#[test]
fn a_page_says_what_the_storm_printed_in_light_and_dark() {
    let Some(chromium) = chromium() else { return };
    let (printed, page) = &*PLAYED;
    let mut papers = Vec::new();
    for (scheme, option) in [
        ("light", "--blink-settings=preferredColorScheme=1"),
        ("dark", "--blink-settings=preferredColorScheme=0"),
    ] {
        let document = drawn(&chromium, scheme, &with_script(page, COUNT_PIXELS), "", &[option]);
        assert!(document.contains(&format!(r#"data-theme="{scheme}""#)));
        assert_eq!(text_of(&document, "verdict"), "✔ Every invariant held");
        assert!(
            text_of(&document, "command").ends_with("--instances 80 --seed 7 --faults heavy --days 0.15")
        );

        let lived = number(printed.split(" days: ").nth(1).unwrap());
        let lanes = text_of(&document, "lanes-status");
        assert!(lanes.starts_with(&format!("In view: {lived} instances in ")), "{lanes}");
        assert!(text_of(&document, "lead").starts_with(&format!("{lived} instances lived and died")));
        let lives = text_of(&document, "note-lives");
        assert!(lives.contains(&format!("in view {lived} launches and {lived} deaths;")), "{lives}");

        // The same counts as in the printed tables, and no other.
        let drained = "drain: event to completion";
        let drains = number(printed.split(drained).nth(1).unwrap());
        assert!(document.contains(&format!(r#"event to completion</td><td class="n">{drains}</td>"#)));
        let (_, invariants) = document.split_once(r#"<tbody id="invariants">"#).unwrap();
        let (invariants, _) = invariants.split_once("</tbody>").unwrap();
        assert_eq!(invariants.matches("<tr").count(), 27, "{invariants}");
        assert!(!invariants.contains('✘'));

        let notes: Value = serde_json::from_str(text_of(&document, "notes")).unwrap();
        assert_eq!(notes["inked"].as_array().map(Vec::len), Some(8), "{notes}");
        for inked in notes["inked"].as_array().unwrap() {
            assert!(inked.as_u64().unwrap() > 1_000, "a picture is empty: {notes}");
        }
        papers.push(notes["paper"].clone());
    }
    assert!(papers[0].is_string() && papers[0] != papers[1], "{papers:?}");
}

#[test]
fn an_address_says_what_is_shown() {
    let Some(chromium) = chromium() else { return };
    let page = &PLAYED.1;
    let whole = drawn(&chromium, "whole", page, "#theme=dark", &[]);
    assert!(whole.contains(r#"data-theme="dark""#));
    let lane = page.split(r#""id":""#).nth(1).unwrap().split('"').next().unwrap();
    let hash = format!("#from=2026-05-04T08:00:00Z&to=2026-05-04T08:20:00Z&instance={lane}");
    let part = drawn(&chromium, "part", page, &hash, &[]);
    assert_eq!(text_of(&part, "range"), "Mon 08:00 – Mon 08:20 (20 min)");
    assert!(text_of(&part, "lanes-status").ends_with("; Mon 08:00 – Mon 08:20; all marks"));
    let [in_part, in_whole] = [&part, &whole].map(|document| number(text_of(document, "lanes-status")));
    assert!(in_part < in_whole, "{in_part} of {in_whole} instances");
    let [in_part, in_whole] = [&part, &whole].map(|document| {
        number(document.split("launch-logger</th><td").nth(1).unwrap().split(r#"class="n">"#).nth(1).unwrap())
    });
    assert!(in_part < in_whole, "{in_part} of {in_whole} launches");
    assert!(text_of(&part, "detail-title").starts_with(lane));
    assert!(part.contains("EC2 Instance-launch Lifecycle Action"), "the history is there");
}

#[test]
fn a_page_is_worked_with_by_keys_wheel_and_pointer() {
    let Some(chromium) = chromium() else { return };
    let script = r#"
        const notes = [];
        const span = () => view.to - view.from;
        const note = (what, right) => notes.push(`${right ? "right" : "WRONG"}: ${what}`);
        const key = (name, at = document.body) => at.dispatchEvent(new KeyboardEvent("keydown", { key: name, bubbles: true, cancelable: true }));
        const at = (canvas, share, y) => {
          const box = canvas.getBoundingClientRect();
          const scale = axis(canvas.clientWidth);
          return { bubbles: true, cancelable: true, button: 0, pointerId: 1, clientX: box.left + scale.left + share * scale.plot, clientY: box.top + y };
        };
        const pointer = (canvas, kind, share, y = 20) => canvas.dispatchEvent(new PointerEvent(`pointer${kind}`, at(canvas, share, y)));
        key("+");
        note("plus zooms in", Math.abs(span() - WHOLE / 2) < 2);
        const before = view.from;
        key("ArrowLeft");
        note("an arrow moves", view.from < before && Math.abs(span() - WHOLE / 2) < 2);
        key("-");
        note("minus zooms out", span() === WHOLE);
        byId("overview").dispatchEvent(new WheelEvent("wheel", { ...at(byId("overview"), 0.5, 20), deltaY: -400 }));
        note("the wheel zooms in", span() < WHOLE);
        key("0");
        note("0 shows all", isWhole());
        const population = byId("population");
        population.dispatchEvent(new WheelEvent("wheel", { ...at(population, 0.5, 20), deltaY: -400 }));
        note("over a chart the wheel scrolls", isWhole());
        pointer(population, "move", 0.25);
        note("the tip shows what is under the pointer", !byId("tip").hidden && /InService/.test(byId("tip").textContent));
        pointer(population, "down", 0.25);
        pointer(population, "move", 0.5);
        note("a drag is shown", !byId("selection").hidden);
        pointer(population, "up", 0.5);
        note("a drag zooms", Math.abs(view.from - WHOLE / 4) < WHOLE / 100 && Math.abs(span() - WHOLE / 4) < WHOLE / 100);
        note("the address says so", new URLSearchParams(location.hash.slice(1)).has("from"));
        byId("population").dispatchEvent(new MouseEvent("dblclick"));
        note("a double click shows all", isWhole());
        const lane = layout.shown[0].members[0];
        const share = ((lane.from + lane.to) / 2 - view.from) / span();
        pointer(byId("lanes"), "move", share, lane.y + 2);
        note("the tip names the lane", byId("tip").textContent.startsWith(lane.id));
        pointer(byId("lanes"), "down", share, lane.y + 2);
        pointer(byId("lanes"), "up", share, lane.y + 2);
        note("a click opens its history", !byId("detail").hidden && selected === lane && byId("history").rows.length > 5);
        key("ArrowDown", byId("lanes-box"));
        note("a key goes to the next one", selected !== lane && byId("detail-title").textContent.startsWith(selected.id));
        byId("detail-zoom").click();
        note("its life is zoomed to", view.from <= selected.from && view.to >= selected.to && span() < WHOLE);
        byId("group").value = families[0];
        byId("group").dispatchEvent(new Event("change"));
        note("a group can be shown alone", layout.shown.length === 1 && families.length > 1);
        key("Escape", byId("lanes-box"));
        note("the history is closed", byId("detail").hidden);
        byId("theme").click();
        note("the theme is changed", document.body.dataset.theme === "dark");
        byId("notes").textContent = notes.join("\n");
    "#;
    let options = ["--blink-settings=preferredColorScheme=1", "--window-size=1200,900"];
    let document = drawn(&chromium, "worked", &with_script(&PLAYED.1, script), "", &options);
    let notes = text_of(&document, "notes");
    assert!(!notes.contains("WRONG") && notes.lines().count() == 18, "{notes}");
}

#[test]
fn names_are_text_and_violations_stand_out() {
    let Some(chromium) = chromium() else { return };
    let hostile = r#"</script><img src=x onerror="console.error(1)">"#;
    let page = &PLAYED.1;
    let (before, rest) = page.split_once(r#"type="application/json">"#).unwrap();
    let (data, after) = rest.split_once("</script>").unwrap();
    let mut data: Value = serde_json::from_str(data).unwrap();
    for place in
        ["/lanes/0/group", "/texts/1", "/rows/0/what", "/calls/0/service", "/usage/0/function", "/command"]
    {
        *data.pointer_mut(place).unwrap() = hostile.into();
    }
    let id = data["lanes"][0]["id"].clone();
    data["violated"] = 1.into();
    data["lanes"][0]["violated"] = true.into();
    data["violations"] = serde_json::json!([{
        "what": hostile, "account": 0, "instance": id, "command": hostile, "history": [hostile],
    }]);
    data["invariants"][0]["violations"] = 1.into();
    let data = data.to_string().replace('<', "\\u003c");
    let page = format!(r#"{before}type="application/json">{data}</script>{after}"#);
    let hash = format!("#instance={}", id.as_str().unwrap());
    let document = drawn(&chromium, "hostile", &page, &hash, &[]);
    assert!(!document.contains("<img"), "a name became markup");
    assert_eq!(text_of(&document, "verdict"), "✘ 1 violation");
    assert_eq!(
        text_of(&document, "violation-list"),
        format!("<li><b>{}", hostile.replace('<', "&lt;").replace('>', "&gt;"))
    );
    let (_, invariants) = document.split_once(r#"<tbody id="invariants">"#).unwrap();
    assert!(invariants.starts_with(r#"<tr><td class="bad">✘"#), "{invariants:.300}");
}

#[test]
fn a_file_that_can_not_be_written_is_told_of_before_the_storm() {
    let run =
        Command::new(env!("CARGO_BIN_EXE_storm")).args(["--report", "/nowhere/storm.html"]).output().unwrap();
    assert!(!run.status.success() && run.stdout.is_empty());
    assert!(String::from_utf8_lossy(&run.stderr).contains("/nowhere/storm.html can't be written"));
}

//! Draws a week: days as columns, an hour as half a character, and each service as high as its tasks. The blocks are
//! readable without colours.

use anstyle::{AnsiColor, Style};
use chrono::{DateTime, FixedOffset, TimeDelta};
use fleet::timeline::View;

/// Columns of a line, as the timeline's.
const WIDTH: usize = View::Full.width();

/// Columns of a row's name.
const NAME: usize = 10;

/// Columns of a day, two hours each; one more stands between two days.
const DAY: usize = 12;

/// Two hours side by side, by the height of the left one and of the right one: nothing, one or two.
const BLOCKS: [[char; 3]; 3] = [[' ', '▗', '▐'], ['▖', '▄', '▟'], ['▌', '▙', '█']];

/// Two hours of nothing, on the ground.
const GROUND: char = '·';

/// Nine and eighteen o'clock in their places of a day.
const CLOCK: &str = "    9    18 ";

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const TASKS: Style = AnsiColor::Green.on_default();
const INSTANCES: Style = AnsiColor::Cyan.on_default();
const MARK: Style = AnsiColor::Yellow.on_default().bold();

/// A service or the instances.
pub(super) struct Row {
    name: String,
    style: Style,
    /// How many there were, for each hour of the week.
    hours: Vec<u32>,
}

impl Row {
    pub(super) fn tasks(service: &str, hours: Vec<u32>) -> Self {
        Self { name: service.to_owned(), style: TASKS, hours }
    }

    pub(super) fn instances(hours: Vec<u32>) -> Self {
        Self { name: "instances".to_owned(), style: INSTANCES, hours }
    }
}

/// A letter that points at a moment of the week.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    /// The letter.
    pub(super) name: char,
    /// Since Monday.
    pub(super) at: TimeDelta,
}

pub(super) fn headline(text: &str) {
    anstream::println!("{BOLD}{}{BOLD:#}", wrapped(text, WIDTH));
}

pub(super) fn text(text: &str) {
    anstream::println!("{}", wrapped(text, WIDTH));
}

/// Breaks lines between words only: `MON-FRI` stays together.
fn wrapped(text: &str, width: usize) -> String {
    textwrap::fill(text, textwrap::Options::new(width).word_splitter(textwrap::WordSplitter::NoHyphenation))
}

/// Draws the rows under their days.
pub(super) fn draw(monday: DateTime<FixedOffset>, rows: &[Row], marks: &[Mark]) {
    let days = rows.first().map_or(0, |row| row.hours.len() / 24);
    let line = |cells: Vec<String>, style: Style| {
        anstream::println!("{:NAME$}{style}{}{style:#}", "", cells.join(" ").trim_end());
    };
    let dates = (0..days).map(|day| monday + TimeDelta::days(day as i64));
    line(dates.map(|date| format!("{:DAY$}", date.format("%a %-d %b").to_string())).collect(), BOLD);
    line(vec![CLOCK.to_owned(); days], DIM);
    line((0..days).map(|day| marks_of(day, marks)).collect(), MARK);
    for row in rows {
        draw_row(row);
        anstream::println!();
    }
    let key = |block, meaning| format!("{TASKS}{block}{TASKS:#} {meaning}");
    anstream::println!(
        "{}, {}, and so on upwards; a block is two hours wide\n",
        key('▄', "one task or instance"),
        key('█', "two")
    );
}

/// A line of the legend.
pub(super) fn note(mark: Mark, monday: DateTime<FixedOffset>, text: &str, width: usize) {
    let start = format!("{}  {}  ", mark.name, (monday + mark.at).format("%a %H:%M"));
    let indent = " ".repeat(start.len());
    let text = wrapped(text, width - start.len()).replace('\n', &format!("\n{indent}"));
    let Mark { name, .. } = mark;
    anstream::println!("{MARK}{name}{MARK:#}{}{text}", &start[1..]);
}

/// The letters of a day, each in the place of its hour.
fn marks_of(day: usize, marks: &[Mark]) -> String {
    let place = |mark: &&Mark| usize::try_from(mark.at.num_hours() / 2).unwrap_or_default();
    let letter =
        |column| marks.iter().find(|mark| place(mark) == day * DAY + column).map_or(' ', |mark| mark.name);
    (0..DAY).map(letter).collect()
}

/// As many lines as the highest hour needs, two to a line, with the name on the ground.
fn draw_row(row: &Row) {
    let highest = row.hours.iter().max().copied().unwrap_or_default();
    for floor in (0..highest.div_ceil(2).max(1)).rev() {
        let name = if floor == 0 { row.name.as_str() } else { "" };
        let days = row.hours.chunks(24).map(|day| {
            let blocks = day.chunks(2).map(|hours| block(hours, floor, row.style));
            blocks.collect::<String>()
        });
        anstream::println!("{name:NAME$}{}", days.collect::<Vec<_>>().join(" ").trim_end());
    }
}

/// Two hours, of which this line shows what is above two of each lower one.
fn block(hours: &[u32], floor: u32, style: Style) -> String {
    let height = |hour: Option<&u32>| hour.map_or(0, |count| count.saturating_sub(2 * floor).min(2) as usize);
    match BLOCKS[height(hours.first())][height(hours.get(1))] {
        ' ' if floor == 0 => format!("{DIM}{GROUND}{DIM:#}"),
        ' ' => " ".to_owned(),
        block => format!("{style}{block}{style:#}"),
    }
}

//! A simulation as a map of the world. No coast is drawn: where clients are is where land is.
//!
//! ```text
//!   dots      half a degree each, in the color of the PoP that has most of the clients there, larger for more of them
//!   pale dots the same, where most of them would be with another PoP if all were up
//!   markers   PoPs; those that are down are crossed out
//!   legend    shares, and what they would be with all up
//! ```
//!
//! Dots are lines without length and with round ends, one path for each color and size, in steps from one to the next:
//! some ten bytes a dot, so that the picture can live beside text.

use std::fmt::Write;

use nearcast_dns::{Cell, Load, LoadState, Simulation};

/// Colors of PoPs, told apart with any eyes and on light and dark alike; then they begin again.
const COLORS: [&str; 12] = [
    "#3b7dd8", "#e8871e", "#1f9e77", "#c2569b", "#8a63d2", "#c9a227", "#2ba6b8", "#d64545", "#7a9a2e", "#9c6b4f",
    "#e57fb0", "#6b7a90",
];
/// What goes to no PoP.
const NO_POP: &str = "#8c8c8c";
/// Degrees of latitude at the top and the bottom: what nobody lives beyond.
const TOP: f64 = 79.0;
const BOTTOM: f64 = -57.0;
/// Pixels of a degree.
const SCALE: f64 = 2.6;
/// Pixels around the map.
const MARGIN: f64 = 16.0;
/// Pixels above it, for the title.
const HEAD: f64 = 40.0;
/// Pixels of a line and a column of the legend.
const LINE: f64 = 20.0;
const COLUMN: f64 = 312.0;
/// Diameters of dots in half degrees, and from which share of the fullest cell on they are so large.
const SIZES: [(f64, f64); 3] = [(1.05, 0.0), (1.3, 0.002), (1.7, 0.03)];

/// The picture, with `title` above it.
pub(super) fn svg(simulation: &Simulation, title: &str) -> String {
    let (width, map) = (MARGIN * 2.0 + 360.0 * SCALE, (TOP - BOTTOM) * SCALE);
    let columns = ((width - MARGIN * 2.0) / COLUMN).floor().max(1.0) as usize;
    let lines = simulation.loads.len().div_ceil(columns);
    let height = HEAD + map + MARGIN + lines as f64 * LINE + LINE * 1.5;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\" \
         font-family=\"system-ui,-apple-system,'Segoe UI',Helvetica,Arial,sans-serif\" font-size=\"13\">\n\
         <title>{}</title>\n<style>{STYLE}</style>\n\
         <rect class=\"page\" width=\"100%\" height=\"100%\" rx=\"6\"/>\n\
         <text class=\"ink\" x=\"{MARGIN}\" y=\"26\" font-size=\"15\" font-weight=\"600\">{}</text>\n",
        escaped(title),
        escaped(title)
    );
    dots(&mut out, simulation);
    markers(&mut out, &simulation.loads);
    legend(&mut out, simulation, HEAD + map + MARGIN + LINE * 0.5, columns);
    out.push_str("</svg>\n");
    out
}

const STYLE: &str = ".page{fill:#fff}.ink{fill:#1f2328}.soft{fill:#59636e}.halo{stroke:#fff}\
    path{fill:none;stroke-linecap:round}.cross{stroke:#fff}\
    @media(prefers-color-scheme:dark){.page{fill:#0d1117}.ink{fill:#e6edf3}.soft{fill:#9198a1}.halo{stroke:#0d1117}}";

fn color(simulation: &Simulation, load: usize) -> &'static str {
    match simulation.loads[load].state {
        LoadState::Up | LoadState::Down => COLORS[load % COLORS.len()],
        LoadState::NoPop => NO_POP,
    }
}

fn x(longitude: f64) -> f64 {
    MARGIN + (longitude + 180.0) * SCALE
}

fn y(latitude: f64) -> f64 {
    HEAD + (TOP - latitude) * SCALE
}

fn dots(out: &mut String, simulation: &Simulation) {
    let fullest = simulation.cells.iter().map(|cell| cell.share).fold(0.0, f64::max);
    let size = |cell: &Cell| SIZES.iter().rposition(|(_, from)| cell.share >= fullest * from).unwrap_or(0);
    let seen = |cell: &&Cell| (BOTTOM..=TOP).contains(&cell.at.latitude);
    for load in 0..simulation.loads.len() {
        for (step, (diameter, _)) in SIZES.iter().enumerate() {
            let of = |moved| {
                let cells = simulation.cells.iter().filter(seen);
                cells.filter(move |cell| cell.load == load && cell.moved == moved && size(cell) == step)
            };
            let color = color(simulation, load);
            path(out, &format!("stroke=\"{color}\""), *diameter, of(false));
            path(out, &format!("stroke=\"{color}\" stroke-opacity=\".45\""), *diameter, of(true));
        }
    }
}

/// One dot for each cell, in units of half a degree: what lies between two of them is a whole number.
fn path<'c>(out: &mut String, look: &str, diameter: f64, cells: impl Iterator<Item = &'c Cell>) {
    let unit = SCALE / 2.0;
    let mut steps = String::new();
    let (mut column, mut row) = (0, 0);
    for cell in cells {
        let (to_column, to_row) = ((cell.at.longitude * 2.0).round() as i32, (-cell.at.latitude * 2.0).round() as i32);
        // Writing to a String cannot fail.
        let _infallible = write!(steps, "m{} {}h0", to_column - column, to_row - row);
        (column, row) = (to_column, to_row);
    }
    if !steps.is_empty() {
        let _infallible = writeln!(
            out,
            "<path {look} stroke-width=\"{:.2}\" transform=\"translate({:.1} {:.1}) scale({unit})\" d=\"{}\"/>",
            diameter,
            x(0.0),
            y(0.0),
            steps.replace(" -", "-")
        );
    }
}

fn markers(out: &mut String, loads: &[Load]) {
    for (position, load) in loads.iter().enumerate() {
        let Some(at) = load.location else { continue };
        let (x, y, color) = (x(at.longitude), y(at.latitude.clamp(BOTTOM, TOP)), COLORS[position % COLORS.len()]);
        let cross = "M-4-4 4 4M4-4-4 4";
        let mark = match load.state {
            LoadState::Up | LoadState::NoPop => String::new(),
            LoadState::Down => format!("<path class=\"cross\" stroke-width=\"2\" d=\"{cross}\"/>"),
        };
        // East of the marker, unless that is beyond the edge.
        let (dx, anchor) = if at.longitude > 165.0 { (-11, "end") } else { (11, "start") };
        let _infallible = writeln!(
            out,
            "<g transform=\"translate({x:.1} {y:.1})\"><circle class=\"halo\" r=\"7.5\" fill=\"{color}\" stroke-width=\"2\"/>\
             {mark}<text class=\"ink halo\" x=\"{dx}\" y=\"5\" text-anchor=\"{anchor}\" font-size=\"14\" font-weight=\"700\" \
             stroke-width=\"3.5\" paint-order=\"stroke\"{}>{}</text></g>",
            if load.state == LoadState::Down { " text-decoration=\"line-through\"" } else { "" },
            escaped(&load.name)
        );
    }
}

fn legend(out: &mut String, simulation: &Simulation, top: f64, columns: usize) {
    for (position, load) in simulation.loads.iter().enumerate() {
        let left = MARGIN + (position % columns) as f64 * COLUMN;
        let line = top + (position / columns) as f64 * LINE;
        let percent = |share: f64| format!("{:.1} %", share * 100.0);
        let change = (load.share - load.share_all_up) * 100.0;
        let compared = if change.abs() < 0.05 {
            "as with all up".to_owned()
        } else {
            format!("{change:+.1}, with all up {}", percent(load.share_all_up))
        };
        let (state, name) = match load.state {
            LoadState::Up => ("", "font-weight=\"600\""),
            LoadState::Down => (" (down)", "font-weight=\"600\" text-decoration=\"line-through\""),
            LoadState::NoPop => ("", "font-style=\"italic\""),
        };
        let _infallible = writeln!(
            out,
            "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"5\" fill=\"{}\"/><text class=\"ink\" x=\"{:.1}\" y=\"{line:.1}\">\
             <tspan {name}>{}</tspan>{state} {} <tspan class=\"soft\">{compared}</tspan></text>",
            left + 6.0,
            line - 4.5,
            color(simulation, position),
            left + 18.0,
            escaped(&load.name),
            percent(load.share)
        );
    }
    let bottom = top + simulation.loads.len().div_ceil(columns) as f64 * LINE;
    let moved = simulation.moved * 100.0;
    let pale =
        if moved > 0.0 { format!("; pale: elsewhere with all up ({moved:.1} % of clients)") } else { String::new() };
    let _infallible = writeln!(
        out,
        "<text class=\"soft\" x=\"{MARGIN}\" y=\"{bottom:.1}\" font-size=\"12\">Dots: half a degree where clients are, in the color of the PoP that \
         has most of them{pale}.</text>"
    );
}

/// As text of XML.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use nearcast_shared::geo::Coordinates;

    use super::*;

    fn at(latitude: f64, longitude: f64) -> Coordinates {
        Coordinates { latitude, longitude }
    }

    fn simulation() -> Simulation {
        let load = |name: &str, state, share, location| Load {
            name: name.to_owned(),
            state,
            location,
            share,
            share_all_up: 0.5,
            took_over: Vec::new(),
        };
        let cell = |at, load, moved, share| Cell { at, share, load, moved };
        Simulation {
            weight: 4.0,
            moved: 0.25,
            loads: vec![
                load("fra", LoadState::Up, 0.75, Some(at(50.0, 8.5))),
                load("iad", LoadState::Down, 0.0, Some(at(39.0, -77.5))),
                load("no data", LoadState::NoPop, 0.25, None),
            ],
            cells: vec![
                cell(at(50.0, 8.5), 0, false, 0.5),
                cell(at(50.0, 9.0), 0, false, 0.4),
                cell(at(40.5, -74.0), 0, true, 0.09),
                cell(at(-80.0, 0.0), 0, false, 0.01),
            ],
        }
    }

    #[test]
    fn dots_are_steps_from_one_to_the_next() {
        let svg = svg(&simulation(), "t");
        assert!(svg.contains("d=\"m17-100h0m1 0h0\"/>"), "{svg}");
        let pale = |line: &&str| line.contains("stroke-opacity");
        let pale: Vec<&str> = svg.lines().filter(pale).collect();
        assert!(pale.len() == 1 && pale[0].contains("d=\"m-148-81h0\""), "{pale:?}");
        assert!(!svg.contains("160h0"), "what is south of the map is not drawn");
    }

    #[test]
    fn markers_and_legend() {
        let svg = svg(&simulation(), "<a & b>");
        assert!(svg.contains("<title>&lt;a &amp; b&gt;</title>"));
        assert_eq!(svg.matches("M-4-4 4 4").count(), 1, "one PoP is crossed out");
        assert_eq!(svg.matches(" (down)").count(), 1);
        assert!(svg.contains("75.0 % <tspan class=\"soft\">+25.0, with all up 50.0 %</tspan>"), "{svg}");
        assert!(svg.contains("pale: elsewhere with all up (25.0 % of clients)"));
        assert!(svg.contains(NO_POP));
    }
}

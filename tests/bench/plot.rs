//! Draws wall times over round trips. The SVG is readable on light and on dark pages.

use std::fmt::Write;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 420.0;

/// The edges of the area where the lines are.
const LEFT: f64 = 60.0;
const RIGHT: f64 = 560.0;
const TOP: f64 = 50.0;
const BOTTOM: f64 = 365.0;

const STYLE: &str = "\
text { font: 14px system-ui, sans-serif; fill: currentColor }
polyline { fill: none; stroke: currentColor; stroke-width: 2 } polyline.least { stroke-dasharray: 4 4 }
.paper { color: #ffffff } .ink { color: #1f2328 } .faint { color: #d1d9e0 }
.line0 { color: #0969da } .line1 { color: #bc4c00 } .line2 { color: #8250df } .least { color: #59636e }
@media (prefers-color-scheme: dark) {
  .paper { color: #0d1117 } .ink { color: #e6edf3 } .faint { color: #30363d }
  .line0 { color: #58a6ff } .line1 { color: #f0883e } .line2 { color: #bc8cff } .least { color: #9198a1 }
}
";

struct Line {
    name: String,
    class: String,
    points: Vec<(f64, f64)>,
}

/// Draws a line for each name. `points` are round trips, each with the wall time of each name, in milliseconds. Another
/// line is for `sequential`, the number of round trips of two successive connections.
pub fn svg(names: &[&str], points: &[(f64, Vec<f64>)], sequential: f64) -> String {
    let mut lines = vec![Line {
        name: format!("{sequential} round trips"),
        class: "least".to_owned(),
        points: points.iter().map(|(round_trip, _)| (*round_trip, sequential * round_trip)).collect(),
    }];
    lines.extend(names.iter().enumerate().map(|(which, name)| Line {
        name: (*name).to_owned(),
        class: format!("line{which}"),
        points: points.iter().map(|(round_trip, wall_ms)| (*round_trip, wall_ms[which])).collect(),
    }));
    // The slowest is the first.
    lines.sort_by(|one, other| other.points.last().unwrap().1.total_cmp(&one.points.last().unwrap().1));

    let widest = points.last().unwrap().0;
    let highest = lines.iter().flat_map(|line| &line.points).map(|(_, wall_ms)| *wall_ms).fold(0.0, f64::max);
    let x = |round_trip: f64| LEFT + (RIGHT - LEFT) * round_trip / widest;
    let y = |wall_ms: f64| BOTTOM - (BOTTOM - TOP) * wall_ms / highest;

    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\">\n\
         <title>Wall time of a mint over the round trip to the servers</title>\n\
         <style>\n{STYLE}</style>\n\
         <rect class=\"paper\" width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"currentColor\"/>\n"
    );
    let mut text = |x: f64, y: f64, class: &str, anchor: &str, text: &str| {
        writeln!(svg, "<text class=\"{class}\" x=\"{x:.0}\" y=\"{y:.0}\" text-anchor=\"{anchor}\">{text}</text>")
            .unwrap();
    };
    text(LEFT, TOP - 20.0, "ink", "middle", "wall time, ms");
    text((LEFT + RIGHT) / 2.0, HEIGHT - 12.0, "ink", "middle", "round trip to the servers, ms");
    for (round_trip, _) in points {
        text(x(*round_trip), BOTTOM + 20.0, "ink", "middle", &round_trip.to_string());
    }
    let step = [10.0, 20.0, 50.0, 100.0, 200.0, 500.0].into_iter().find(|step| highest / step < 8.0).unwrap_or(1000.0);
    let ticks: Vec<f64> = (0..=(highest / step) as u32).map(|tick| f64::from(tick) * step).collect();
    for tick in &ticks {
        text(LEFT - 8.0, y(*tick) + 5.0, "ink", "end", &tick.to_string());
    }
    // Each label is beside the end of its line, and below the previous label.
    let mut below = TOP - 15.0;
    for line in &lines {
        let end = line.points.last().unwrap().1;
        below = y(end).max(below + 17.0);
        text(RIGHT + 10.0, below + 5.0, &line.class, "start", &format!("{}: {end:.0} ms", line.name));
    }
    for tick in &ticks {
        let y = y(*tick);
        writeln!(svg, "<path class=\"faint\" d=\"M{LEFT} {y:.1}H{RIGHT}\" stroke=\"currentColor\"/>").unwrap();
    }
    for Line { class, points, .. } in &lines {
        let points: Vec<String> =
            points.iter().map(|(round_trip, wall_ms)| format!("{:.1},{:.1}", x(*round_trip), y(*wall_ms))).collect();
        writeln!(svg, "<polyline class=\"{class}\" points=\"{}\"/>", points.join(" ")).unwrap();
    }
    svg + "</svg>\n"
}

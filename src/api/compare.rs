//! History for people: several runs over one axis, in what they told and in what they used.

use crate::api::call::{Call, Param, harmless};
use crate::api::problem::{Failure, invalid};
use crate::api::progress::{MOST_POINTS, POINTS, number_of_points};
use crate::api::routes::{Answer, Content, Route, schema};
use crate::api::runs::{Run, Told};
use crate::api::service::json;
use crate::auth::Action;
use crate::model::comparison::{Axis, Scatter, Track, align};
use crate::model::curve::{Quantity, Spread};
use crate::model::entity::{Entity, SeriesKey};
use crate::model::metric::Metric;
use crate::store::Range;
use crate::wire::comparison::{Comparison, Run as RunView, RunQuantity};
use crate::wire::convert::{Audience, run_point, timestamp};
use crate::wire::error::ProblemKind;
use axum::http::{Method, StatusCode};
use std::collections::BTreeMap;
use std::fmt;

/// Most runs, and most quantities, of one request.
const MOST_RUNS: usize = 20;
const MOST_QUANTITIES: usize = 20;

/// What runs are compared in that told of no metrics.
const USED: [Metric; 4] = [
    Metric::CpuPercent,
    Metric::MemoryBytes,
    Metric::GpuPercent,
    Metric::GpuMemoryBytes,
];

const COMPARE: &[Param] = &[
    Param {
        name: "run",
        of_type: "string",
        repeatable: true,
        summary: "Jobs (42: its newest attempt) or attempts (42.1), at most 20",
    },
    Param {
        name: "quantity",
        of_type: "string",
        repeatable: true,
        summary: "What of them: percent, step, rate, metric.NAME, or what they used, as in cpu.percent; at most 20; all metrics of the first run unless given, or else its use of CPU, memory and GPUs",
    },
    Param {
        name: "x",
        of_type: "string",
        repeatable: false,
        summary: "The axis: time (since each began), step or percent; time unless given",
    },
    Param {
        name: "points",
        of_type: "integer",
        repeatable: false,
        summary: "Most points of each, 1 to 10000; 1000 unless given",
    },
];

pub(super) fn routes() -> Vec<Route> {
    use ProblemKind as P;
    vec![
        Route::new(Method::GET, "/v1/compare", "compare", COMPARE, compare)
            .says("Several runs, drawn over one axis")
            .gives(200, Content::Json(schema::<Comparison>))
            .fails(&[P::InvalidRequest, P::NotFound, P::NotPermitted]),
    ]
}

/// What runs are compared in.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Compared {
    /// What they told of themselves.
    Told(Quantity),
    /// What was measured of them.
    Used(Metric),
}

impl Compared {
    fn read(text: &str) -> Result<Self, Failure> {
        let told = text.parse().map(Self::Told);
        let either = told.or_else(|why| text.parse().map(Self::Used).map_err(|_| why));
        either.map_err(|why| {
            let shown = harmless(text);
            let why = format_args!("\"{shown}\": {why}, and what a job uses, as in cpu.percent");
            invalid("quantity", why)
        })
    }

    /// Whether it is for the owner's eyes alone.
    fn is_private(&self) -> bool {
        matches!(self, Self::Told(Quantity::Metric(_)))
    }

    fn unit(&self) -> Option<&'static str> {
        match self {
            Self::Told(quantity) => quantity.unit(),
            Self::Used(metric) => Some(metric.definition().unit.as_str()),
        }
    }
}

impl fmt::Display for Compared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Told(quantity) => quantity.fmt(f),
            Self::Used(metric) => metric.fmt(f),
        }
    }
}

/// A run, and where it was when.
struct Course {
    run: Run,
    told: Told,
    track: Option<Track>,
    used: BTreeMap<Metric, Vec<(i64, Spread)>>,
}

impl Course {
    fn new(run: Run, told: Told, axis: Axis) -> Self {
        let place = match axis {
            Axis::Time => None,
            Axis::Step => Some(Quantity::Step),
            Axis::Percent => Some(Quantity::Percent),
        };
        let track = place.map(|place| {
            let mut track = Track::default();
            for (at_ms, progress) in &told {
                place
                    .of(progress)
                    .into_iter()
                    .for_each(|x| track.add(*at_ms, x));
            }
            track
        });
        Self {
            run,
            told,
            track,
            used: BTreeMap::new(),
        }
    }

    /// Where on the axis it was at a time, as far as that is known.
    fn place(&self, at_ms: i64) -> Option<f64> {
        match &self.track {
            Some(track) => track.at(at_ms),
            None => Some((at_ms - self.run.began_ms()?) as f64 / 1_000.0),
        }
    }

    fn scatter(&self, compared: &Compared) -> Scatter {
        let values = match compared {
            Compared::Told(quantity) => self.values_told(quantity),
            Compared::Used(metric) => self.used.get(metric).cloned().unwrap_or_default(),
        };
        let places = values.into_iter();
        let scatter = places.filter_map(|(at_ms, spread)| Some((self.place(at_ms)?, spread)));
        scatter.collect()
    }

    fn values_told(&self, quantity: &Quantity) -> Vec<(i64, Spread)> {
        let values = self.told.iter().filter_map(|(at_ms, progress)| {
            let value = quantity.of(progress)?;
            Some((*at_ms, Spread::of(value)))
        });
        values.collect()
    }

    /// Reads what it used, all in one query.
    async fn measure(&mut self, call: &Call, metrics: &[Metric]) -> Result<(), Failure> {
        let Some(began_ms) = self.run.began_ms().filter(|_| !metrics.is_empty()) else {
            return Ok(());
        };
        let range = Range {
            since_ms: began_ms,
            until_ms: self.run.end_ms(),
            // They are gathered again by their places, so as finely as may be.
            most: MOST_POINTS,
            percentiles: false,
        };
        let entity = Entity::Job(self.run.id);
        let keys = metrics.iter().map(|metric| SeriesKey {
            entity: entity.clone(),
            metric: *metric,
        });
        let keys: Vec<SeriesKey> = keys.collect();
        let samples = call.shared.samples.clone();
        let read = move || samples.query(&keys, range);
        let lines = call.shared.blocking(read).await??;
        let values = lines.into_iter().map(|line| {
            let points = line.into_iter();
            points.map(|point| (point.at_ms, point.spread)).collect()
        });
        self.used = metrics.iter().copied().zip(values).collect();
        Ok(())
    }
}

async fn compare(call: Call) -> Answer {
    let axis: Option<Axis> = call.value("x", "time, step or percent")?;
    let axis = axis.unwrap_or(Axis::Time);
    let most = number_of_points("points", call.value("points", POINTS)?)?;
    let wanted = wanted(&call)?;
    let mut courses = courses(&call, axis).await?;
    let chosen = match &wanted[..] {
        [] => of_itself(&courses),
        wanted => wanted.to_vec(),
    };
    for course in &courses {
        let owner = course.run.owner();
        if call.audience(owner) != Audience::Owner && chosen.iter().any(Compared::is_private) {
            // Says why, and whom to ask.
            call.permit(Action::ReadJob, Some(owner))?;
        }
    }
    let used = chosen.iter().filter_map(|compared| match compared {
        Compared::Used(metric) => Some(*metric),
        Compared::Told(_) => None,
    });
    let used: Vec<Metric> = used.collect();
    for course in &mut courses {
        course.measure(&call, &used).await?;
    }
    let mut runs: Vec<RunView> = courses.iter().map(|it| run_view(&it.run)).collect();
    for compared in &chosen {
        let scatters: Vec<Scatter> = courses.iter().map(|it| it.scatter(compared)).collect();
        if wanted.is_empty() && scatters.iter().all(Vec::is_empty) {
            // Nobody asked for it, and nobody has it.
            continue;
        }
        for (run, points) in runs.iter_mut().zip(align(scatters, most)) {
            run.quantities.push(RunQuantity {
                name: compared.to_string(),
                unit: compared.unit().map(str::to_owned),
                points: points
                    .iter()
                    .map(|(x, spread)| run_point(*x, spread))
                    .collect(),
            });
        }
    }
    let x = axis.to_string();
    json(StatusCode::OK, &Comparison { x, runs })
}

async fn courses(call: &Call, axis: Axis) -> Result<Vec<Course>, Failure> {
    let texts: Vec<&str> = call.values("run").collect();
    if texts.is_empty() || texts.len() > MOST_RUNS {
        let why = format_args!("name 1 to {MOST_RUNS} runs, as in run=42&run=43.1");
        return Err(invalid("run", why));
    }
    let mut courses = Vec::with_capacity(texts.len());
    for text in texts {
        let run = Run::named(call, text).await?;
        let told = run.told(call).await?;
        courses.push(Course::new(run, told, axis));
    }
    Ok(courses)
}

/// The quantities that were asked for, each once.
fn wanted(call: &Call) -> Result<Vec<Compared>, Failure> {
    let mut wanted: Vec<Compared> = Vec::new();
    for text in call.values("quantity") {
        let compared = Compared::read(text)?;
        if !wanted.contains(&compared) {
            wanted.push(compared);
        }
    }
    if wanted.len() > MOST_QUANTITIES {
        let why = format_args!(
            "name at most {MOST_QUANTITIES}, as in quantity=metric.loss&quantity=cpu.percent"
        );
        return Err(invalid("quantity", why));
    }
    Ok(wanted)
}

/// What is compared where nobody says in what.
fn of_itself(courses: &[Course]) -> Vec<Compared> {
    let last = courses.first().and_then(|course| course.told.last());
    let metrics = last
        .iter()
        .flat_map(|(_, progress)| progress.metrics.keys().cloned())
        .map(|name| Compared::Told(Quantity::Metric(name)))
        .take(MOST_QUANTITIES);
    let metrics: Vec<Compared> = metrics.collect();
    if metrics.is_empty() {
        return USED.map(Compared::Used).to_vec();
    }
    metrics
}

fn run_view(run: &Run) -> RunView {
    let started = run.attempt().and_then(|attempt| attempt.started);
    RunView {
        job: run.id.job.0,
        attempt: run.id.attempt,
        name: run.record.job.spec.name.clone(),
        started_at: started.map(|at| timestamp(at.wall_ms)),
        quantities: Vec::new(),
    }
}

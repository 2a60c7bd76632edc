//! What holds for any sequence of observations.

use proptest::prelude::*;

use super::*;

/// Numbers a hostile or broken job may send.
fn number() -> impl Strategy<Value = Option<f64>> {
    let some = prop_oneof![
        8 => (0..=20_u32).prop_map(f64::from),
        2 => 0.0..200.0_f64,
        1 => any::<f64>(),
    ];
    proptest::option::of(some)
}

fn source() -> impl Strategy<Value = Source> {
    prop_oneof![
        Just(Source::Adapter("tqdm".to_owned())),
        Just(Source::Adapter("ratio".to_owned())),
        Just(Source::File),
        Just(Source::Notify),
        Just(Source::Api),
    ]
}

prop_compose! {
    fn anything()(
        source in source(),
        step in number(), total_steps in number(), percent in number(),
        epoch in number(), total_epochs in number(), rate in number(), eta_seconds in number(),
        steps_in_epoch in any::<bool>(),
        phase in proptest::option::of(".{0,8}"),
        named in proptest::collection::vec((0..5_u8, 0..5_usize, number()), 0..3),
        metrics in proptest::collection::btree_map(".{0,3}", any::<f64>(), 0..3),
    ) -> Observation {
        const STATES: [StepState; 5] = [
            StepState::Pending, StepState::Started, StepState::Progress, StepState::Completed, StepState::Failed,
        ];
        let report = |(name, state, percent): (u8, usize, Option<f64>)| StepReport {
            percent,
            ..StepReport::new(name.to_string(), STATES[state])
        };
        Observation {
            steps: named.into_iter().map(report).collect(),
            step, total_steps, percent, epoch, total_epochs, steps_in_epoch, phase, rate, eta_seconds, metrics,
            ..Observation::new(source)
        }
    }
}

proptest! {
    #[test]
    fn percent_never_falls_within_a_phase(
        seen in proptest::collection::vec((anything(), 0..40_000_u64), 1..60)
    ) {
        let mut tracker = Tracker::default();
        let mut now = Stamp::default();
        for (observation, pause_ms) in seen {
            now = now.plus_ms(pause_ms);
            let before = tracker.progress().clone();
            tracker.observe(observation, now);
            let after = tracker.progress();
            if let Some(percent) = after.percent {
                prop_assert!((0.0..=100.0).contains(&percent));
            }
            if after.phase_number == before.phase_number {
                prop_assert!(before.percent.is_none() || after.percent >= before.percent);
            }
            if let (Some(low), Some(eta), Some(high)) =
                (after.eta_low_seconds, after.eta_seconds, after.eta_high_seconds)
            {
                prop_assert!(0.0 <= low && low <= eta && eta <= high, "{low} {eta} {high}");
            }
            let json = serde_json::to_string(after).unwrap();
            prop_assert!(!json.contains("null"), "{json}");
            let back: Progress = serde_json::from_str(&json).unwrap();
            prop_assert_eq!(back.phase_number, after.phase_number);
        }
    }

    #[test]
    fn absorbing_does_not_depend_on_how_it_is_grouped(
        seen in proptest::collection::vec(anything(), 2..8), cut in 0..8_usize
    ) {
        let finite = |mut it: Observation| { it.metrics.retain(|_, value| value.is_finite()); it };
        let fold = |part: &[Observation]| {
            part.iter().cloned().map(finite).reduce(|mut all, next| { all.absorb(next); all })
        };
        let (head, tail) = seen.split_at(cut.min(seen.len() - 1));
        let grouped = match (fold(head), fold(tail)) {
            (Some(mut head), Some(tail)) => { head.absorb(tail); Some(head) }
            (head, tail) => head.or(tail),
        };
        // Compared as text, because a number that is not one differs from itself.
        prop_assert_eq!(format!("{:?}", fold(&seen)), format!("{grouped:?}"));
    }
}

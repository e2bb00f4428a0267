//! Registrations on both sides: each peculiarity alone, each pair, and more at random.

use anyhow::{Context, bail, ensure};
use proptest::sample::subsequence;
use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

use crate::difference::{self, Difference, Verdict, Version};
use crate::kernel::{self, Target};
use crate::memory::{BIGGEST_REGION, Memory};
use crate::outcome::{Outcome, Words};
use crate::request::Request;
use crate::software;
use crate::spoil::{self, Spoil};

/// How many peculiarities a random request has: two show an order of checks, more that the order is one.
const AT_ONCE: std::ops::RangeInclusive<usize> = 3..=5;

/// Most differences that are named one by one.
const MOST_NAMED: usize = 40;

/// Compares them all; the error names the smallest case that differs without a name.
pub(crate) fn check(target: Target, cases: u32, seed: u64) -> anyhow::Result<()> {
    let comparison =
        Comparison { target, running: Version::running()?, memory: Memory::new(BIGGEST_REGION)? };
    let spoils: Vec<Spoil> =
        spoil::ALL.iter().copied().filter(|spoil| comparison.distinguishes(*spoil)).collect();

    let alone = spoils.iter().map(|spoil| vec![*spoil]);
    let together = difference::TOGETHER.iter().map(|difference| {
        spoils.iter().copied().filter(|spoil| difference.spoils.contains(&spoil.name)).collect()
    });
    let pairs = spoils.iter().enumerate().flat_map(|(n, one)| {
        spoils[n + 1..]
            .iter()
            .map(|other| comparison.independent(&[*one, *other]))
            .filter(|case| case.len() == 2)
    });
    let (mut tried, mut wrong) = (0, 0);
    for case in std::iter::once(vec![]).chain(alone).chain(pairs).chain(together) {
        tried += 1;
        if let Err(reason) = comparison.compare(&case)? {
            wrong += 1;
            if wrong <= MOST_NAMED {
                println!("{reason}");
            }
        }
    }
    ensure!(wrong == 0, "{wrong} of {tried} requests with few peculiarities differ without a name");
    comparison.at_random(spoils, cases, seed)?;
    println!("{tried} requests one by one and {cases} at random: no difference without a name");
    Ok(())
}

struct Comparison {
    target: Target,
    running: Version,
    memory: Memory,
}

impl Comparison {
    /// Whether this target gets far enough to see it.
    fn distinguishes(&self, spoil: Spoil) -> bool {
        !(spoil.of_area && matches!(self.target, Target::Loopback { .. }))
    }

    fn at_random(&self, spoils: Vec<Spoil>, cases: u32, seed: u64) -> anyhow::Result<()> {
        let config = Config { cases, failure_persistence: None, ..Config::default() };
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed_bytes(seed));
        let strategy = subsequence(spoils, AT_ONCE).prop_shuffle();
        let outcome = TestRunner::new_with_rng(config, rng).run(&strategy, |case| {
            match self.compare(&self.independent(&case)) {
                Ok(verdict) => verdict.map_err(TestCaseError::fail),
                Err(error) => Err(TestCaseError::fail(format!("{error:#}"))),
            }
        });
        match outcome {
            Ok(()) => Ok(()),
            Err(TestError::Fail(reason, case)) => {
                bail!("{case:?} is the smallest case that differs: {reason}")
            }
            Err(TestError::Abort(reason)) => bail!("gave up: {reason}"),
        }
    }

    /// The inner error is a difference without a name.
    fn compare(&self, spoils: &[Spoil]) -> anyhow::Result<Result<(), String>> {
        let request = self.request(spoils);
        let kernel = kernel::register(self.target, &request, self.memory).context("the kernel's side")?;
        // Without a ring there is nothing to compare.
        let Some(kernel) = kernel else { return Ok(Ok(())) };
        let software = software::register(&request, self.memory);
        let expected = self.expected(spoils);
        if expected.contains(&kernel) {
            return Ok(Ok(()));
        }
        let expected: Vec<_> = expected.into_iter().map(|outcome| Words(outcome).to_string()).collect();
        Ok(Err(format!(
            "{spoils:?}: the kernel says {}, the software queue {}, expected here: {}",
            Words(kernel),
            Words(software),
            expected.join(" or ")
        )))
    }

    fn request(&self, spoils: &[Spoil]) -> Request {
        let mut request = Request::good(self.memory);
        for spoil in spoils {
            (spoil.apply)(&mut request);
        }
        request
    }

    /// Without those that would undo or hide another one by touching the same field.
    fn independent(&self, spoils: &[Spoil]) -> Vec<Spoil> {
        let mut kept: Vec<Spoil> = Vec::new();
        for spoil in spoils {
            let disturbs = |other: &Spoil| {
                let both = self.request(&[*other, *spoil]);
                both != self.request(&[*spoil, *other])
                    || both == self.request(&[*spoil])
                    || both == self.request(&[*other])
            };
            if !kept.iter().any(disturbs) {
                kept.push(*spoil);
            }
        }
        kept
    }

    /// What the kernel may say: what the software queue says of the request without the peculiarities that have a
    /// named difference, and what those say, whichever comes first; and the same without what the kernel looks at
    /// later than the software queue does.
    fn expected(&self, spoils: &[Spoil]) -> Vec<Outcome> {
        let mut expected = self.expected_in_order(spoils);
        for order in difference::orders(self.running, self.target) {
            let among = |names: &[&str], spoil: &Spoil| names.contains(&spoil.name);
            if spoils.iter().any(|spoil| among(order.first, spoil)) {
                let sooner: Vec<Spoil> =
                    spoils.iter().copied().filter(|spoil| !among(order.then, spoil)).collect();
                expected.extend(self.expected_in_order(&sooner).into_iter().filter(Result::is_err));
            }
        }
        for difference in difference::TOGETHER {
            let has_all = difference.spoils.iter().all(|name| spoils.iter().any(|spoil| spoil.name == *name));
            if let Verdict::Refused(errno) = difference.verdict
                && has_all
                && difference.applies(self.running, self.target)
            {
                expected.push(Err(errno));
            }
        }
        expected
    }

    fn expected_in_order(&self, spoils: &[Spoil]) -> Vec<Outcome> {
        let (named, rest): (Vec<Spoil>, Vec<Spoil>) =
            spoils.iter().partition(|spoil| self.difference(**spoil).is_some());
        let mut expected: Vec<Outcome> = named
            .iter()
            .filter_map(|spoil| match self.difference(*spoil)?.verdict {
                Verdict::Accepted => None,
                Verdict::Refused(errno) => Some(Err(errno)),
            })
            .collect();
        match software::register(&self.request(&rest), self.memory) {
            Err(errno) => expected.push(Err(errno)),
            // Nothing else is wrong: whatever a difference refuses is refused.
            Ok(_) if !expected.is_empty() => {}
            Ok(_) if matches!(self.target, Target::Loopback { .. }) => expected.push(Err(libc::EOPNOTSUPP)),
            Ok(mut geometry) => {
                geometry.offsets = difference::geometry(self.running);
                expected.push(Ok(geometry));
            }
        }
        expected
    }

    fn difference(&self, spoil: Spoil) -> Option<&'static Difference> {
        difference::ALL.iter().find(|difference| {
            difference.spoils.contains(&spoil.name) && difference.applies(self.running, self.target)
        })
    }
}

/// A seed for the random numbers, from one that fits a command line.
pub(crate) fn seed_bytes(seed: u64) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    bytes
}

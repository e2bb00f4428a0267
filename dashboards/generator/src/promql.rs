//! What a query names: series, labels, rates; and which labels its answer has.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, anyhow, bail};
use promql_parser::label::{MatchOp, Matchers};
use promql_parser::parser::{
    AggregateExpr, BinaryExpr, Call, Expr, LabelModifier, VectorMatchCardinality, parse,
};

use super::contract::Contract;

/// Labels of the series that rules record.
pub(super) type Recorded = BTreeMap<String, BTreeSet<String>>;

/// One selector of a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Selector {
    /// The series' name.
    pub series: String,
    /// Its matchers, as `name` and `operator and value`.
    pub matchers: Vec<(String, String)>,
    /// The functions and aggregations around it, innermost first.
    pub within: Vec<String>,
}

/// What was found in a query.
#[derive(Debug, Default)]
pub(super) struct Query {
    /// Every selector.
    pub selectors: Vec<Selector>,
    /// Labels that its answer can have.
    pub labels: BTreeSet<String>,
}

/// Takes a query apart; fails if it is none, or names a series or label that does not exist.
pub(super) fn analyse(text: &str, contract: &Contract, recorded: &Recorded) -> Result<Query> {
    let expression = parse(text).map_err(|error| anyhow!("{error}: {text}"))?;
    let mut visitor = QueryVisitor { contract, recorded, selectors: Vec::new(), within: Vec::new() };
    let labels = visitor.labels(&expression).map_err(|error| error.context(text.to_owned()))?;
    Ok(Query { selectors: visitor.selectors, labels })
}

struct QueryVisitor<'a> {
    contract: &'a Contract,
    recorded: &'a Recorded,
    selectors: Vec<Selector>,
    within: Vec<String>,
}

impl QueryVisitor<'_> {
    fn labels(&mut self, expression: &Expr) -> Result<BTreeSet<String>> {
        match expression {
            Expr::Aggregate(aggregate) => self.aggregate(aggregate),
            Expr::Unary(unary) => self.labels(&unary.expr),
            Expr::Binary(binary) => self.binary(binary),
            Expr::Paren(paren) => self.labels(&paren.expr),
            Expr::Subquery(subquery) => self.labels(&subquery.expr),
            Expr::NumberLiteral(_) | Expr::StringLiteral(_) => Ok(BTreeSet::new()),
            Expr::VectorSelector(selector) => self.selector(selector.name.as_deref(), &selector.matchers),
            Expr::MatrixSelector(range) => self.selector(range.vs.name.as_deref(), &range.vs.matchers),
            Expr::Call(call) => self.call(call),
            Expr::Extension(_) => bail!("an extension of PromQL"),
        }
    }

    fn selector(&mut self, name: Option<&str>, matchers: &Matchers) -> Result<BTreeSet<String>> {
        let Some(name) = name else { bail!("a selector without a name reads every series there is") };
        let known = self.recorded.get(name).cloned().or_else(|| self.contract.labels(name));
        let Some(labels) = known else { bail!("nothing exports or records {name}") };
        let all = matchers.matchers.iter().chain(matchers.or_matchers.iter().flatten());
        let mut found = Vec::new();
        for matcher in all {
            if !labels.contains(&matcher.name) {
                bail!("{name} has no label {}", matcher.name);
            }
            let operator = match &matcher.op {
                MatchOp::Equal => "=",
                MatchOp::NotEqual => "!=",
                MatchOp::Re(_) => "=~",
                MatchOp::NotRe(_) => "!~",
            };
            found.push((matcher.name.clone(), format!("{operator}{}", matcher.value)));
        }
        let within = self.within.iter().rev().cloned().collect();
        self.selectors.push(Selector { series: name.to_owned(), matchers: found, within });
        Ok(labels)
    }

    fn aggregate(&mut self, aggregate: &AggregateExpr) -> Result<BTreeSet<String>> {
        if let Some(parameter) = &aggregate.param {
            self.labels(parameter)?;
        }
        let operator = aggregate.op.to_string();
        // These choose among their series; the others make new ones.
        let chooses = ["topk", "bottomk", "limitk"].contains(&operator.as_str());
        self.within.push(operator);
        let inside = self.labels(&aggregate.expr)?;
        self.within.pop();
        let named = |labels: &[String]| -> Result<()> {
            match labels.iter().find(|&label| !inside.contains(label)) {
                Some(label) => bail!("what is aggregated has no label {label}"),
                None => Ok(()),
            }
        };
        Ok(match &aggregate.modifier {
            Some(modifier) => {
                named(&modifier.labels().labels)?;
                let listed: BTreeSet<_> = modifier.labels().labels.iter().cloned().collect();
                match modifier {
                    _ if chooses => inside,
                    LabelModifier::Include(_) => listed,
                    LabelModifier::Exclude(_) => inside.difference(&listed).cloned().collect(),
                }
            }
            None if chooses => inside,
            None => BTreeSet::new(),
        })
    }

    fn binary(&mut self, binary: &BinaryExpr) -> Result<BTreeSet<String>> {
        let left = self.labels(&binary.lhs)?;
        let right = self.labels(&binary.rhs)?;
        let Some(modifier) = &binary.modifier else {
            return Ok(if is_number(&binary.lhs) { right } else { left });
        };
        if let Some(matching) = &modifier.matching {
            for label in &matching.labels().labels {
                if !(left.contains(label) && right.contains(label)) {
                    bail!("the two sides of {} do not both have the label {label}", binary.op);
                }
            }
        }
        Ok(match &modifier.card {
            VectorMatchCardinality::ManyToOne(more) => {
                let more: BTreeSet<_> = more.labels.iter().cloned().collect();
                if let Some(label) = more.difference(&right).next() {
                    bail!("group_left takes a label {label} that is not there");
                }
                left.union(&more).cloned().collect()
            }
            VectorMatchCardinality::OneToMany(more) => {
                let more: BTreeSet<_> = more.labels.iter().cloned().collect();
                right.union(&more).cloned().collect()
            }
            VectorMatchCardinality::ManyToMany if binary.op.to_string() == "or" => {
                left.union(&right).cloned().collect()
            }
            _ if is_number(&binary.lhs) => right,
            _ => left,
        })
    }

    fn call(&mut self, call: &Call) -> Result<BTreeSet<String>> {
        self.within.push(call.func.name.to_owned());
        let mut labels = BTreeSet::new();
        for argument in &call.args.args {
            labels.extend(self.labels(argument)?);
        }
        self.within.pop();
        match call.func.name {
            "scalar" | "vector" | "time" => labels.clear(),
            "histogram_quantile" if !labels.remove("le") => {
                bail!("a quantile needs buckets: le is not there");
            }
            "label_replace" | "label_join" => {
                if let Some(Expr::StringLiteral(label)) = call.args.args.get(1).map(|label| &**label) {
                    labels.insert(label.val.clone());
                }
            }
            _ => {}
        }
        Ok(labels)
    }
}

fn is_number(expression: &Expr) -> bool {
    match expression {
        Expr::NumberLiteral(_) => true,
        Expr::Paren(paren) => is_number(&paren.expr),
        Expr::Unary(unary) => is_number(&unary.expr),
        Expr::Call(call) => matches!(call.func.name, "scalar" | "time"),
        Expr::Binary(binary) => is_number(&binary.lhs) && is_number(&binary.rhs),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::Metric;

    fn labels(query: &str) -> Result<Vec<String>> {
        let metric = |kind: &str, labels: &[&str]| Metric {
            kind: kind.to_owned(),
            labels: labels.iter().map(|&label| label.to_owned()).collect(),
            ..Metric::default()
        };
        let mut contract = Contract::default();
        contract.metrics.insert("c_total".into(), metric("counter", &["queue"]));
        contract.metrics.insert("g_info".into(), metric("gauge", &["queue", "comm"]));
        contract.metrics.insert("h_seconds".into(), metric("histogram", &["queue"]));
        let recorded = Recorded::from([("a:b:c".to_owned(), ["job".to_owned()].into())]);
        Ok(analyse(query, &contract, &recorded)?.labels.into_iter().collect())
    }

    #[test]
    fn the_labels_of_an_answer() -> Result<()> {
        for (query, expected) in [
            ("rate(c_total[5m])", &["cluster", "instance", "job", "queue"][..]),
            ("sum by (job) (rate(c_total{queue=\"1\"}[5m]))", &["job"]),
            ("sum without (queue) (c_total)", &["cluster", "instance", "job"]),
            ("topk(3, c_total)", &["cluster", "instance", "job", "queue"]),
            (
                "c_total * on (job, queue) group_left (comm) g_info",
                &["cluster", "comm", "instance", "job", "queue"],
            ),
            ("2 * a:b:c", &["job"]),
            ("a:b:c > scalar(c_total)", &["job"]),
            ("histogram_quantile(0.9, sum by (job, le) (rate(h_seconds_bucket[5m])))", &["job"]),
            ("sum(c_total) or vector(0)", &[]),
        ] {
            assert_eq!(labels(query)?, expected, "{query}");
        }
        Ok(())
    }

    #[test]
    fn what_does_not_exist_is_refused() {
        for query in [
            "nobody_exports_this",
            "c_total{comm=\"x\"}",
            "sum by (comm) (c_total)",
            "c_total and on (comm) g_info",
            "c_total * on (queue) group_left (ifindex) g_info",
            "h_seconds",
            "histogram_quantile(0.9, sum by (job) (rate(h_seconds_bucket[5m])))",
            "{queue=\"1\"}",
            "sum(c_total",
            "no_such_function(c_total)",
        ] {
            assert!(labels(query).is_err(), "{query}");
        }
    }

    #[test]
    fn a_selector_knows_what_is_around_it() -> Result<()> {
        let mut contract = Contract::default();
        let metric = Metric { kind: "counter".into(), ..Metric::default() };
        contract.metrics.insert("c_total".into(), metric);
        let query = analyse("sum(rate(c_total[5m]))", &contract, &Recorded::new())?;
        assert_eq!(query.selectors[0].within, ["rate", "sum"]);
        Ok(())
    }
}

use proptest::prelude::*;

use super::*;

const CATALOG: &str = r#"{"providers":{
"openai":{"models":{
  "gpt":{"rates":{"input":"1.25","output":"10","cacheRead":"0.125"},"tags":["chat"]},
  "listen":{"rates":{"input":"2.5","output":"10","inputAudio":"40","outputAudio":"80","reasoning":"12"}},
  "free":{}}},
"anthropic":{"models":{
  "claude":{"rates":{"input":"3","output":"15","cacheRead":"0.3","cacheWrite":"3.75"},
    "tiers":[{"contextOver":200000,"rates":{"input":"6","output":"22.5"}},{"contextOver":500000,"rates":{"input":"9.000001"}}]}}}}}"#;

fn usage(report: &str) -> Usage {
    let mut usage = Usage::default();
    usage.read(json::parse(report.as_bytes()).unwrap());
    usage
}

#[track_caller]
fn check(provider: &str, model: &str, report: &str, want: &str) {
    let got = Catalog::parse(CATALOG.as_bytes()).unwrap().price(provider, &[model], &usage(report));
    let got = match got {
        Priced::Exact(bill) => bill.total().to_string(),
        other => other.name().to_owned(),
    };
    assert_eq!(got, want, "{provider} {model} {report}");
}

fn total(priced: Priced) -> Option<u128> {
    match priced {
        Priced::Exact(bill) => Some(bill.total().0),
        Priced::Unpriced | Priced::Missing => None,
    }
}

#[test]
fn a_bill_says_what_each_part_cost() {
    let catalog = Catalog::parse(CATALOG.as_bytes()).unwrap();
    let report = r#"{"prompt_tokens":1000,"completion_tokens":10,"prompt_tokens_details":{"cached_tokens":800}}"#;
    let Priced::Exact(bill) = catalog.price("openai", &["gpt"], &usage(report)) else { panic!("no bill") };
    let parts = [bill.input, bill.cache_read, bill.output, bill.reasoning].map(|it| it.to_string());
    assert_eq!(parts, ["0.00025", "0.0001", "0.0001", "0"]);
    assert_eq!((bill.rates.input, bill.total().dollars()), (Some(1_250_000), 0.00045));
}

#[test]
fn catalogues_say_of_which_day_they_are() {
    let dated = |day: &str| Catalog::parse(format!(r#"{{"date":"{day}","providers":{{}}}}"#).as_bytes());
    let mut catalog = dated("2026-11-02").unwrap();
    assert_eq!(catalog.date(), Some("2026-11-02"));
    catalog.merge(dated("2026-09-30").unwrap());
    assert_eq!(catalog.date(), Some("2026-11-02"), "the last of those it is made of");
    assert!(matches!(dated("yesterday"), Err(CatalogFault::Member(at, _)) if at == "date"));
}

#[test]
fn tokens_are_billed_to_the_last_digit() {
    check("openai", "gpt", r#"{"prompt_tokens":1000,"completion_tokens":500}"#, "0.00625");
    check("openai", "gpt", r#"{"prompt_tokens":1,"completion_tokens":0}"#, "0.00000125");
    let cached = r#"{"prompt_tokens":1000,"completion_tokens":0,"prompt_tokens_details":{"cached_tokens":800}}"#;
    check("openai", "gpt", cached, "0.00035");
    check("openai", "gpt", r#"{"prompt_tokens":1000000,"completion_tokens":0}"#, "1.25");
    let audio = r#"{"prompt_tokens":100,"completion_tokens":50,"prompt_tokens_details":{"audio_tokens":60},
        "completion_tokens_details":{"audio_tokens":20,"reasoning_tokens":10}}"#;
    // 40 x 2.5 + 60 x 40 + 20 x 10 + 10 x 12 + 20 x 80
    check("openai", "listen", audio, "0.00442");
    let written =
        r#"{"input_tokens":10,"cache_read_input_tokens":1000,"cache_creation_input_tokens":100,"output_tokens":7}"#;
    // 10 x 3 + 1000 x 0.3 + 100 x 3.75 + 7 x 15
    check("anthropic", "claude", written, "0.00081");
}

#[test]
fn the_highest_tier_that_is_exceeded_lies_over_the_base() {
    check("anthropic", "claude", r#"{"input_tokens":200000,"output_tokens":1}"#, "0.600015");
    check("anthropic", "claude", r#"{"input_tokens":200001,"output_tokens":1}"#, "1.2000285");
    check("anthropic", "claude", r#"{"input_tokens":500001,"output_tokens":1}"#, "4.500024500001");
}

#[test]
fn what_is_not_known_is_said_and_not_guessed() {
    check("openai", "other", r#"{"prompt_tokens":1}"#, "missing");
    check("nobody", "gpt", r#"{"prompt_tokens":1}"#, "missing");
    check("openai", "free", r#"{"prompt_tokens":1}"#, "unpriced");
    check("openai", "gpt", "{}", "unpriced");
    let catalog = Catalog::parse(CATALOG.as_bytes()).unwrap();
    let second = catalog.price("openai", &["gpt-2025", "gpt"], &usage(r#"{"prompt_tokens":1}"#));
    assert_eq!((total(second), catalog.models()), (Some(1_250_000), 4));
}

#[test]
fn catalogues_lie_over_each_other() {
    let mut catalog = Catalog::parse(CATALOG.as_bytes()).unwrap();
    let own = r#"{"providers":{"openai":{"models":{"gpt":{"rates":{"output":"1"}},"new":{"rates":{"input":"1","output":"2"}}}}}}"#;
    catalog.merge(Catalog::parse(own.as_bytes()).unwrap());
    let price = |model| catalog.price("openai", &[model], &usage(r#"{"prompt_tokens":1,"completion_tokens":1}"#));
    assert_eq!(total(price("gpt")), Some(2_250_000));
    assert_eq!(total(price("new")), Some(3_000_000));
}

#[test]
fn a_catalogue_that_is_wrong_is_refused_with_the_place() {
    for (text, at) in [
        (r#"{}"#, "providers"),
        (r#"{"providers":{"a":{}}}"#, "providers.a.models"),
        (r#"{"providers":{"a":{"models":{"m":{"rates":{"input":1.5}}}}}}"#, "providers.a.models.m.rates.input"),
        (r#"{"providers":{"a":{"models":{"m":{"rates":{"input":"-1"}}}}}}"#, "providers.a.models.m.rates.input"),
        (r#"{"providers":{"a":{"models":{"m":{"rates":{"input":"1.1234567"}}}}}}"#, "providers.a.models.m.rates.input"),
        (r#"{"providers":{"a":{"models":{"m":{"rates":{"input":"1."}}}}}}"#, "providers.a.models.m.rates.input"),
        (
            r#"{"providers":{"a":{"models":{"m":{"rates":{"input":"99999999999999999999"}}}}}}"#,
            "providers.a.models.m.rates.input",
        ),
        (r#"{"providers":{"a":{"models":{"m":{"tiers":[{"rates":{}}]}}}}}"#, "providers.a.models.m.tiers[0]"),
        (
            r#"{"providers":{"a":{"models":{"m":{"tiers":[{"contextOver":2},{"contextOver":2}]}}}}}"#,
            "providers.a.models.m.tiers[1]",
        ),
    ] {
        let fault = Catalog::parse(text.as_bytes()).unwrap_err();
        assert!(matches!(&fault, CatalogFault::Member(it, _) if it == at), "{text}: {fault}");
    }
    assert_eq!(Catalog::parse(b"{").unwrap_err(), CatalogFault::Json(json::Fault::End));
}

proptest! {
    #[test]
    fn rates_are_read_exactly(whole in 0_u64..10_000, micros in 0_u64..1_000_000) {
        prop_assert_eq!(rate(&format!("{whole}.{micros:06}")), Some(whole * 1_000_000 + micros));
    }

    #[test]
    fn costs_are_written_exactly(cost in 0_u64..) {
        let text = Cost(u128::from(cost)).to_string();
        let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
        let back = whole.parse::<u128>().unwrap() * 1_000_000_000_000
            + format!("{fraction:0<12}").parse::<u128>().unwrap();
        prop_assert_eq!(back, u128::from(cost));
    }
}

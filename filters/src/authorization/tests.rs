use serde_json::{Value, json};

use super::{Config, Denial, Policy, Verdicts, decide};
use crate::expr::Site;
use crate::testing::{refuses, request, try_lower};

fn policy(config: Value) -> Policy {
    let (policy, problems) = try_lower(config, |config: Config, scope| config.lower_at(Site::Request, scope));
    assert_eq!(problems, Vec::<String>::new());
    policy.unwrap()
}

fn rules(rules: Value) -> Policy {
    policy(json!({ "rules": rules }))
}

fn judge(policies: &[Policy], path: &str, headers: &[(&str, &str)]) -> Verdicts {
    let (mut head, facts) = request("GET", path);
    for (name, value) in headers {
        head.append_header((*name).to_owned(), *value).unwrap();
    }
    decide(policies.iter(), &facts.inputs(&head))
}

fn denial(policy: usize, rule: impl Into<Option<usize>>) -> Option<Denial> {
    Some(Denial { policy, rule: rule.into() })
}

#[test]
fn denials_win_then_requirements_then_grants() {
    let policies = [rules(json!([
        {"deny": "request.path.startsWith('/internal')"},
        {"require": "has(request.headers.team)"},
        "request.path == '/open'",
        {"allow": "request.headers.team == 'ops'"},
    ]))];
    for (path, team, want) in [
        ("/internal/x", Some("ops"), denial(0, 0)),
        ("/open", None, denial(0, 1)),
        ("/open", Some("dev"), None),
        ("/other", Some("ops"), None),
        ("/other", Some("dev"), denial(0, None)),
    ] {
        let headers: Vec<_> = team.iter().map(|team| ("team", *team)).collect();
        assert_eq!(judge(&policies, path, &headers).enforced, want, "{path} {team:?}");
    }
}

#[test]
fn without_a_grant_asked_for_everything_not_refused_passes() {
    let policies = [rules(json!([{"deny": "request.method == 'DELETE'"}])), rules(json!([{"require": "true"}]))];
    assert_eq!(judge(&policies, "/", &[]), Verdicts::default());
}

#[test]
fn what_fails_decides_for_the_safe_side() {
    for (rule, refused) in [
        (json!({"deny": "request.headers.absent == 'x'"}), true),
        (json!({"deny": "jwt.admin"}), true),
        (json!({"deny": "has(jwt.admin) && jwt.admin"}), false),
        (json!({"require": "request.headers.absent == 'x'"}), true),
        (json!({"allow": "request.headers.absent == 'x'"}), true),
        (json!({"allow": "request.headers.absent == 'x' || true"}), false),
        (json!({"deny": "request.headers['x-n']"}), true),
        (json!({"deny": "1 / 0 == 1"}), true),
    ] {
        let (loaded, _) = try_lower(json!({ "rules": [rule] }), |it: Config, scope| it.lower_at(Site::Request, scope));
        // What is certain to fail may be refused with the configuration already.
        let Some(policy) = loaded else { continue };
        let judged = judge(std::slice::from_ref(&policy), "/", &[("x-n", "true")]);
        assert_eq!(judged.enforced.is_some(), refused, "{rule}");
    }
}

#[test]
fn rules_that_cost_too_much_refuse() {
    let bomb = "[1,2,3,4,5,6,7,8,9,0].all(a, [1,2,3,4,5,6,7,8,9,0].all(b, [1,2,3,4,5,6,7,8,9,0].all(c, \
                [1,2,3,4,5,6,7,8,9,0].all(d, [1,2,3,4,5,6,7,8,9,0].all(e, [1,2,3,4,5,6,7,8,9,0].all(f, \
                [1,2,3,4,5,6,7,8,9,0].all(g, request.path.size() > a + b + c + d + e + f + g - 100)))))))";
    let pattern = "request.path.matches(request.headers.pattern)";
    let huge = "((a{500}){500}){500}".to_owned();
    for (rule, headers) in
        [(bomb, vec![]), (pattern, vec![("pattern", huge.as_str())]), (pattern, vec![("pattern", "(")])]
    {
        let policies = [rules(json!([{ "deny": rule }]))];
        let judged = judge(&policies, &format!("/{}", "a".repeat(4000)), &headers);
        assert_eq!(judged.enforced, denial(0, 0), "{rule}");
        let policies = [rules(json!([{ "allow": rule }]))];
        let judged = judge(&policies, &format!("/{}", "a".repeat(4000)), &headers);
        assert_eq!(judged.enforced, denial(0, None), "{rule}");
    }
}

#[test]
fn rules_of_several_policies_are_taken_together() {
    let gateway = rules(json!([{"deny": "request.path == '/x'"}, {"allow": "request.headers.team == 'ops'"}]));
    let route = rules(json!([{"allow": "request.headers.team == 'dev'"}]));
    let policies = [gateway, route];
    assert_eq!(judge(&policies, "/", &[("team", "dev")]).enforced, None, "a route grants what its gateway does not");
    assert_eq!(judge(&policies, "/x", &[("team", "dev")]).enforced, denial(0, 0));
    assert_eq!(judge(&policies, "/", &[("team", "hr")]).enforced, denial(0, None));
}

#[test]
fn shadow_rules_refuse_nothing_and_say_what_they_would_have() {
    let shadow = |rules: Value| policy(json!({"rules": rules, "mode": "shadow"}));
    let in_force = rules(json!([{"allow": "request.path == '/a'"}]));
    let judged = judge(&[shadow(json!([{"deny": "true"}])), in_force.clone()], "/a", &[]);
    assert_eq!(judged, Verdicts { enforced: None, shadow: denial(0, 0) });
    let judged = judge(&[shadow(json!([{"allow": "request.path == '/b'"}])), in_force.clone()], "/b", &[]);
    assert_eq!(judged, Verdicts { enforced: denial(1, None), shadow: None }, "a shadow grants nothing");
    let judged = judge(&[shadow(json!([{"allow": "request.path == '/b'"}])), in_force], "/a", &[]);
    assert_eq!(judged, Verdicts::default());
    let judged = judge(&[shadow(json!([{"allow": "false"}]))], "/a", &[]);
    assert_eq!(judged, Verdicts { enforced: None, shadow: denial(0, None) });
}

#[test]
fn rules_that_can_never_be_asked_are_refused() {
    refuses(
        [
            (json!({"rules": []}), "policy.rules: write at least one rule"),
            (json!({"rules": [{"deny": "request.pathh == '/'"}]}), "policy.rules[0]: "),
            (json!({"rules": ["true", {"allow": "response.code == 200"}]}), "policy.rules[1]: "),
            (json!({"rules": ["'text'"]}), "policy.rules[0]: "),
            (json!({"rules": ["backend.name == 'x'"]}), "policy.rules[0]: "),
        ],
        |config: Config, scope| config.lower_at(Site::Request, scope),
    );
}

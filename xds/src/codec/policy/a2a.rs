//! `a2a`. Keys travel themselves, whatever files they came from.

use filters::Scope;
use filters::a2a::{CardConfig, Config, Ids, Policy, Push, Sign, VerifyConfig};
use filters::backend_auth::Algorithm;
use filters::jwt::KeySource;
use filters::jwt_auth::JwksConfig;
use ir::Secret;

use crate::codec::read;
use crate::pb;
use crate::pb::a2a::{CardKeys, CardSign, Ids as WireIds, Push as WirePush};

pub(super) fn encode(it: &Policy) -> pb::A2a {
    let Policy { ids, push, relay_url, ttl, keys, require, sign, state: _ } = it;
    let ids = match ids {
        Ids::Sealed => WireIds::Sealed,
        Ids::Plain => WireIds::Plain,
    };
    let push = match push {
        Push::Checked => WirePush::Checked,
        Push::Refused => WirePush::Refused,
        Push::Unchecked => WirePush::Unchecked,
        Push::Relayed => WirePush::Relayed,
    };
    pb::A2a {
        ids: ids.into(),
        push_notifications: push.into(),
        relay_url: relay_url.as_ref().map(ToString::to_string),
        card_ttl: Some(read::duration(*ttl)),
        card_keys: keys.as_ref().map(|it| match it {
            KeySource::Inline { text, .. } => CardKeys::Inline(text.to_string()),
            KeySource::Url(url) => CardKeys::Url(url.to_string()),
        }),
        card_required: *require,
        card_sign: sign.as_ref().map(|it| CardSign {
            signing_key: it.key.expose().to_vec(),
            algorithm: it.algorithm.name().to_owned(),
            key_id: it.key_id.as_ref().map(ToString::to_string),
        }),
    }
}

pub(super) fn decode(it: pb::A2a, scope: &mut Scope<'_>) -> Option<Policy> {
    let pb::A2a { ids, push_notifications, relay_url, card_ttl, card_keys, card_required, card_sign } = it;
    let before = scope.problems.len();
    let ids = match read::choice(scope, "ids", ids) {
        WireIds::Unspecified | WireIds::Sealed => Ids::Sealed,
        WireIds::Plain => Ids::Plain,
    };
    let push_notifications = match read::choice(scope, "pushNotifications", push_notifications) {
        WirePush::Unspecified | WirePush::Checked => Push::Checked,
        WirePush::Refused => Push::Refused,
        WirePush::Unchecked => Push::Unchecked,
        WirePush::Relayed => Push::Relayed,
    };
    let ttl = read::span(scope, "card.ttl", card_ttl);
    let verify = card_keys.map(|it| VerifyConfig {
        jwks: match it {
            CardKeys::Inline(text) => JwksConfig::Inline(text),
            CardKeys::Url(url) => JwksConfig::Url { url },
        },
    });
    let sign = card_sign.and_then(|it| scope.at("card", |scope| scope.at("sign", |scope| decode_sign(it, scope))));
    let card = Some(CardConfig { ttl, verify, require: card_required, sign: None });
    let policy = Config { ids, push_notifications, relay_url, card }.lower(scope)?;
    (scope.problems.len() == before).then_some(Policy { sign, ..policy })
}

fn decode_sign(it: CardSign, scope: &mut Scope<'_>) -> Option<Sign> {
    let CardSign { signing_key, algorithm, key_id } = it;
    let named = Algorithm::ALL.iter().copied().find(|it| it.name() == algorithm);
    let named = named.or_else(|| algorithm.is_empty().then(Algorithm::default));
    let named = scope.check("alg", named.ok_or_else(|| "not an algorithm that this version knows".to_owned()))?;
    let sign = Sign::new(Secret::new(signing_key), named, key_id.map(Into::into));
    scope.check("signingKey", sign)
}

//! YAML that most tests need: one bind on a free loopback port, one listener, some routes.

use crate::Backend;

/// One listener with these routes, each an item of a YAML list.
pub fn routes(routes: &str) -> String {
    listeners(&format!("- routes:\n{}", indent(routes, "  ")))
}

/// One bind with these listeners, each an item of a YAML list.
pub fn listeners(listeners: &str) -> String {
    format!("binds:\n- port: 0\n  address: 127.0.0.1\n  listeners:\n{}", indent(listeners, "  "))
}

/// One route for everything to this backend, with these policies: `retry: {...}, cors: {...}`.
pub fn route(backend: &Backend, policies: &str) -> String {
    routes(&format!("- policies: {{ {policies} }}\n  backends: [{{ host: '{}' }}]\n", backend.addr()))
}

/// One route for everything to this backend, with these policies of the backend.
pub fn backend(backend: &Backend, policies: &str) -> String {
    routes(&format!("- backends: [{{ host: '{}', policies: {{ {policies} }} }}]\n", backend.addr()))
}

fn indent(text: &str, by: &str) -> String {
    text.lines().filter(|it| !it.trim().is_empty()).map(|it| format!("{by}{it}\n")).collect()
}

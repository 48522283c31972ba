//! Holding a response back until it is whole.

use bytes::{Bytes, BytesMut};
use pingora_core::protocols::http::HttpTask;
use pingora_error::{Error, Result};
use pingora_http::ResponseHeader;

/// Finishes a response that is whole: may change head and body, or refuse it.
pub type Finish = Box<dyn FnOnce(&mut ResponseHeader, &mut Bytes) -> Result<()> + Send + Sync>;

/// Parts of a response that wait for its end.
pub struct Hold {
    tasks: Vec<HttpTask>,
    bytes: usize,
    bytes_max: usize,
    /// Over the limit: let it stream instead of failing.
    fail_open: bool,
    open: bool,
    finish: Option<Finish>,
}

/// What to do with the parts just seen.
pub enum Held {
    /// Nothing goes out yet.
    Wait,
    /// These go out now.
    Release(Vec<HttpTask>),
    TooLarge,
    /// The response broke off or was refused, and nothing of it has gone out.
    Failed(Box<Error>),
}

impl Hold {
    pub fn new(bytes_max: usize, fail_open: bool) -> Self {
        Self { tasks: Vec::new(), bytes: 0, bytes_max, fail_open, open: false, finish: None }
    }

    /// Has the response finished before it goes out: then it cannot go out in pieces.
    pub fn finish_with(&mut self, finish: Finish, bytes_max: usize) {
        self.finish = Some(finish);
        self.fail_open = false;
        self.bytes_max = self.bytes_max.min(bytes_max);
    }

    /// Forgets what another attempt left.
    pub fn reset(&mut self) {
        self.tasks.clear();
        self.bytes = 0;
        self.open = false;
        self.finish = None;
    }

    /// Takes parts in. Informational heads and switched protocols pass at once.
    pub fn take(&mut self, mut tasks: Vec<HttpTask>) -> Held {
        if self.open {
            return Held::Release(tasks);
        }
        if let Some(at) = tasks.iter().position(|task| matches!(task, HttpTask::Failed(_)))
            && let HttpTask::Failed(error) = tasks.swap_remove(at)
        {
            return Held::Failed(error);
        }
        let ended = self.look(&tasks);
        self.tasks.extend(tasks);
        if self.bytes > self.bytes_max {
            if !self.fail_open {
                return Held::TooLarge;
            }
            self.open = true;
        }
        if !ended && !self.open {
            return Held::Wait;
        }
        let tasks = std::mem::take(&mut self.tasks);
        match self.finish.take_if(|_| tasks.iter().any(is_final)) {
            None => Held::Release(tasks),
            Some(finish) => match finished(tasks, finish) {
                Ok(tasks) => Held::Release(tasks),
                Err(error) => Held::Failed(error),
            },
        }
    }

    /// Whether something has ended with these, if only an interim response.
    fn look(&mut self, tasks: &[HttpTask]) -> bool {
        let mut ended = false;
        for task in tasks {
            match task {
                HttpTask::Header(head, end) => {
                    if head.status == http::StatusCode::SWITCHING_PROTOCOLS {
                        self.open = true;
                    }
                    ended |= *end || head.status.is_informational();
                }
                HttpTask::Body(body, end) | HttpTask::UpgradedBody(body, end) => {
                    self.bytes += body.as_ref().map_or(0, Bytes::len);
                    ended |= *end;
                }
                HttpTask::Trailer(_) | HttpTask::Done | HttpTask::Failed(_) => ended = true,
            }
        }
        ended
    }
}

fn is_final(task: &HttpTask) -> bool {
    matches!(task, HttpTask::Header(head, _) if !head.status.is_informational())
}

/// The parts again, with head and body finished.
fn finished(tasks: Vec<HttpTask>, finish: Finish) -> Result<Vec<HttpTask>> {
    let (mut before, mut after) = (Vec::new(), Vec::new());
    let mut head = None;
    let mut body = BytesMut::new();
    for task in tasks {
        match task {
            HttpTask::Header(it, _) if !it.status.is_informational() => head = Some(it),
            HttpTask::Body(bytes, _) => body.extend_from_slice(&bytes.unwrap_or_default()),
            HttpTask::Header(..) => before.push(task),
            HttpTask::Trailer(_) => after.push(task),
            HttpTask::Done | HttpTask::UpgradedBody(..) | HttpTask::Failed(_) => {}
        }
    }
    let Some(mut head) = head else { return Ok(before) };
    let mut body = body.freeze();
    finish(&mut head, &mut body)?;
    let ends = after.is_empty();
    if body.is_empty() {
        before.push(HttpTask::Header(head, ends));
    } else {
        before.push(HttpTask::Header(head, false));
        before.push(HttpTask::Body(Some(body), ends));
    }
    before.append(&mut after);
    Ok(before)
}

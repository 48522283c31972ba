//! Holding a response back until it is whole.

use pingora_core::protocols::http::HttpTask;
use pingora_error::Error;

/// Parts of a response that wait for its end.
pub struct Hold {
    tasks: Vec<HttpTask>,
    bytes: usize,
    bytes_max: usize,
    /// Over the limit: let it stream instead of failing.
    fail_open: bool,
    open: bool,
}

/// What to do with the parts just seen.
pub enum Held {
    /// Nothing goes out yet.
    Wait,
    /// These go out now.
    Release(Vec<HttpTask>),
    TooLarge,
    /// The response broke off, and nothing of it has gone out.
    Failed(Box<Error>),
}

impl Hold {
    pub fn new(bytes_max: usize, fail_open: bool) -> Self {
        Self { tasks: Vec::new(), bytes: 0, bytes_max, fail_open, open: false }
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
        let mut ended = false;
        for task in &tasks {
            match task {
                HttpTask::Header(head, end) => {
                    if head.status == http::StatusCode::SWITCHING_PROTOCOLS {
                        self.open = true;
                    }
                    ended |= *end || head.status.is_informational();
                }
                HttpTask::Body(body, end) | HttpTask::UpgradedBody(body, end) => {
                    self.bytes += body.as_ref().map_or(0, bytes::Bytes::len);
                    ended |= *end;
                }
                HttpTask::Trailer(_) | HttpTask::Done | HttpTask::Failed(_) => ended = true,
            }
        }
        self.tasks.extend(tasks);
        if self.bytes > self.bytes_max && !ended {
            if !self.fail_open {
                return Held::TooLarge;
            }
            self.open = true;
        }
        if self.bytes > self.bytes_max && !self.fail_open {
            return Held::TooLarge;
        }
        if ended || self.open { Held::Release(std::mem::take(&mut self.tasks)) } else { Held::Wait }
    }
}

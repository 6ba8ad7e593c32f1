//! The hooks as they are called: what differs between `select`, `validate` and `admit`.
//!
//! All else of a call, and above all what happens to the instance after it, is `policy`'s, once for all of them.

use std::future::Future;
use std::sync::Arc;

use wasmtime::component::{Instance, Resource};

use super::Lease;
use crate::bindings::exports::handfast::policy::{admit, select, validate};
use crate::error::CallError;
use crate::verdict::{Decision, Validation, reason};
use crate::views::Certificate;

pub(super) trait Hook: Send + 'static {
    /// What a guest can return, and what it may.
    type Answer: Send;
    type Verdict: Send + 'static;

    /// Finds the function in the instance, starts the account of the call, and calls.
    fn call(
        self,
        lease: &mut Lease,
        instance: &Instance,
    ) -> impl Future<Output = wasmtime::Result<Self::Answer>> + Send;

    fn verdict(answer: Self::Answer) -> Result<Self::Verdict, CallError>;
}

pub(super) struct Select(pub(super) select::GuestIndices);

pub(super) struct Validate(pub(super) validate::GuestIndices);

/// With the certificate that is lent for the call.
pub(super) struct Admit(pub(super) admit::GuestIndices, pub(super) Arc<dyn Certificate>);

impl Hook for Select {
    type Answer = select::Decision;
    type Verdict = Decision;

    async fn call(self, lease: &mut Lease, instance: &Instance) -> wasmtime::Result<Self::Answer> {
        let guest = self.0.load(&mut lease.store, instance)?;
        lease.begin();
        guest.call_select(&mut lease.store, the_one(), the_one()).await
    }

    fn verdict(answer: Self::Answer) -> Result<Decision, CallError> {
        Decision::from_guest(answer)
    }
}

impl Hook for Validate {
    type Answer = Result<Vec<validate::Attribute>, validate::Rejection>;
    type Verdict = Validation;

    async fn call(self, lease: &mut Lease, instance: &Instance) -> wasmtime::Result<Self::Answer> {
        let guest = self.0.load(&mut lease.store, instance)?;
        lease.begin();
        guest.call_validate(&mut lease.store, the_one(), the_one(), the_one()).await
    }

    fn verdict(answer: Self::Answer) -> Result<Validation, CallError> {
        Validation::from_guest(answer)
    }
}

impl Hook for Admit {
    type Answer = Result<(), String>;
    type Verdict = Result<(), String>;

    async fn call(self, lease: &mut Lease, instance: &Instance) -> wasmtime::Result<Self::Answer> {
        let guest = self.0.load(&mut lease.store, instance)?;
        lease.begin();
        let lent = lease.store.data_mut().lend(self.1);
        let answer = guest.call_admit(&mut lease.store, Resource::new_borrow(lent)).await?;
        lease.store.data_mut().give_back(lent);
        Ok(answer)
    }

    fn verdict(answer: Self::Answer) -> Result<Self::Verdict, CallError> {
        Ok(answer.map_err(reason))
    }
}

/// The handle of what exists once per call.
fn the_one<T: 'static>() -> Resource<T> {
    Resource::new_borrow(0)
}

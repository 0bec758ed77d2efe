//! The owner reference and place of a custom resource.

use kube::ResourceExt;

use crate::apply::Owner;
use crate::kind::{Kind, ReconcileError};
use crate::names::{LABEL_COMPONENT, LABEL_INSTANCE, LABEL_NAME};
use crate::reason::Reason;

/// Whose children are to be made. An object that was read from the API server always
/// has a name, a namespace and a UID.
pub fn of<K: Kind>(object: &K) -> Result<Owner, ReconcileError> {
    let incomplete =
        || ReconcileError::told(Reason::InvalidSpec, "object has no namespace, name or UID");
    let namespace = object.namespace().ok_or_else(incomplete)?;
    let reference = object.controller_owner_ref(&()).ok_or_else(incomplete)?;
    let selector = K::COMPONENT.selector(&reference.name);
    let selector = [LABEL_NAME, LABEL_COMPONENT, LABEL_INSTANCE]
        .map(|key| format!("{key}={}", selector[key]))
        .join(",");
    Ok(Owner {
        namespace,
        reference,
        selector,
    })
}

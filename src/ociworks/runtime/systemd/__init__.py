"""Control groups through systemd: a transient scope per container, so that systemd knows what it did not make.

================  ==========================================================================================
``message``       D-Bus messages as bytes, without I/O
``bus``           one connection to the system's manager or a user's
``scope``         names: ``slice:prefix:name`` → unit, slice and where their groups are
``properties``    ``linux.resources`` → properties of the unit
``annotations``   further properties from annotations ``org.systemd.property.…``
``manager``       start, change and stop a scope; each waits for systemd's word that it is done
``holder``        what is in a scope before the container is: without a process there is no scope
================  ==========================================================================================

systemd gets the limits that it knows, so that a reload does not take them back; all of them are then written to the
groups as without systemd, by the launcher.
"""

from __future__ import annotations

from ociworks.runtime.systemd.scope import Driver, Scope

__all__ = ["Driver", "Scope"]

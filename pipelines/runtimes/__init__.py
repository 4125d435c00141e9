"""Programs that runners need beside Python: found, installed once a machine, started and stopped.

The standard library only, so that a script can install them before Beam is imported.
"""

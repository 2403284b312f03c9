"""How bubblewrap is called, for who needs to know that without psutil (`doctor`)."""

NAMESPACES = (
    *("--unshare-user", "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts"),
    *("--cap-drop", "ALL", "--die-with-parent", "--new-session"),
)
PROBE = ("bwrap", *NAMESPACES, *("--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev"), "true")
SYSTEM = (
    *("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store", "/opt/rocm"),
    *("/sys/devices/system/cpu", "/sys/devices/system/node"),
)

# Read each time the release starts, on the machine that it runs on.
import Config

integer = fn name, default -> String.to_integer(System.get_env(name, default)) end

config :release_app, ReleaseApp.Native,
  workers: integer.("NATIVE_WORKERS", "2"),
  threads: integer.("NATIVE_THREADS", "2"),
  # How long a stop waits for jobs: whoever stops the release has to be more patient (systemd's
  # TimeoutStopSec, a container's grace period).
  drain_timeout: integer.("NATIVE_DRAIN_TIMEOUT", "15000"),
  # Ops that crash and hang, to see what happens then: NATIVE_DRILL=1.
  plugins:
    if(System.get_env("NATIVE_DRILL") == "1", do: [stevedore: "fault"], else: []) ++
      [release_app: "primes"]

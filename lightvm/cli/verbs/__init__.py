"""The verbs of the command line, one module each, imported only when asked for.

A verb's module has ``add_arguments(parser)`` and ``run(args)``, which returns the exit code. This
table is all that is needed to know a verb, and it costs nothing to import.
"""

VERBS: dict[str, str] = {
    "create": "create one domain, or many",
    "destroy": "destroy domains and forget them",
    "list": "list domains",
    "info": "show one domain",
    "pause": "stop the vCPUs of domains",
    "unpause": "let the vCPUs of domains run",
    "stop": "ask guests to stop, and wait until they have",
    "restart": "stop domains, and start them again",
    "console": "attach to a domain's console, or print its output",
    "wait": "wait until a domain is ready or has exited",
    "events": "print what happens to domains, as it happens",
    "pool": "show the pools of shells",
    "flavors": "show the flavors for which shells are kept",
    "services": "show the services, whose domains are made when a packet asks for them",
    "service": "add a service, or remove one that was added",
    "doctor": "look for leaks on this host",
    "version": "print the versions of client, daemon and Xen",
    "schema": "print the JSON Schema of requests in TOML",
    "completion": "print the completion file for a shell",
}

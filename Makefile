# The commands of this project. Everything they need is installed by `tools/install`.

PYTHON := .venv/bin/python

.PHONY: help install box lab demo test bench load fuzz soak lint unit mutations e2e clean

help:
	@echo "make demo          a real machine shared and connected to, until Ctrl-C"
	@echo "make demo CHECK=1  the same, every way in tried, then the end"
	@echo "make test          install what is missing, then lint, unit, mutation, fuzz and e2e tests"
	@echo "make fuzz          a million hostile inputs for each parser; INPUTS=N for others"
	@echo "make soak          30 minutes of mixed load with a fault a minute; MINUTES=N for others"
	@echo "make bench         this project measured beside the tools people would use instead; QUICK=1"
	@echo "make load          10,000 shares at one relay; NODES=3 for as many at three together; SHARES=N"
	@echo "make lab           the lab alone: hosts behind NAT, until Ctrl-C"
	@echo "make box           the images of the connect VM and of the demo machine"

install:
	@tools/install

box: install
	@$(PYTHON) -m box connect
	@$(PYTHON) -m box demo

lab: box
	@$(PYTHON) -m tests.lab up

demo: box
	@$(PYTHON) -m tests.demo $(if $(CHECK),--check)

test: box
	@.venv/bin/tox

fuzz: install
	@$(PYTHON) -m tests.fuzz --inputs $(or $(INPUTS),1000000)

soak: box
	@$(PYTHON) -m tests.soak --minutes $(or $(MINUTES),30)

bench: install
	@$(PYTHON) -m bench $(if $(QUICK),--quick)

load: install
	@$(PYTHON) -m bench.relay_load --nodes $(or $(NODES),1) --shares $(or $(SHARES),10000)

lint unit mutations e2e: install
	@.venv/bin/tox -e $@

clean:
	rm -rf .tox .mypy_cache .ruff_cache .pytest_cache build dist *.egg-info

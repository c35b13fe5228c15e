# Everything people run. Each target is one line that calls the command line; `fer-id --help` has the rest.
#
#   make train ARGS="model=resnet50 trainer.max_epochs=5"      any dotted key of the config
#   make train SOURCE=~/Downloads/fer2013.csv NAME=fer2013/mine

PYTHON ?= python3
BIN := .venv/bin
FER := $(BIN)/fer-id
STAMP := .venv/.installed
LIBRARIES := libGL.so.1 libEGL.so.1 libGLESv2.so.2 libgthread-2.0.so.0
PACKAGES := libgl1 libegl1 libgles2 libglib2.0-0

ARGS ?=
SOURCE ?= data/fer2013.csv
VOTES ?= data/fer2013new.csv
STORE ?= data/fer2013
MODEL ?= conv4
NAME ?= fer2013/$(MODEL)
SWEEP ?= drawn
RUN ?= runs/demo/cnn_lstm
RUNS ?= $(patsubst %/DONE,%,$(wildcard runs/*/*/DONE))
OUT ?= compare
WORKERS ?= auto
ID ?=

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup hooks demo loso adapt strategies shipped simulate benchmark surface sweep shortcut train fer2013 fer2013-step explain compare test test-slow test-all test-lowest lint format type docs bench dashboard wandb-sweep audit clean distclean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo '  once: make setup, then make demo; source .venv/bin/activate puts fer-id on the path'
	@echo '  variables: ARGS SOURCE VOTES STORE MODEL NAME SWEEP RUN RUNS OUT WORKERS PYTHON, e.g. make train ARGS="model=resnet50"'

# ---------------------------------------------------------------------------------------------------- installation

setup: $(STAMP)  ## .venv with the tested versions (every other target does this by itself)
	@echo 'Installed in .venv. Next: make demo (four to six and a half minutes), or: source .venv/bin/activate && fer-id --help'

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, $(PYTHON) is %d.%d: make PYTHON=/path/to/python" % sys.version_info[:2])'
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv .venv
	@$(BIN)/python .ci/install.py
	@$(BIN)/python -c 'import ctypes, sys; [ctypes.CDLL(name) for name in "$(LIBRARIES)".split() if sys.platform == "linux"]' \
	  || { echo 'OpenCV and MediaPipe need $(LIBRARIES); on Debian or Ubuntu: apt-get install $(PACKAGES)' >&2; exit 1; }
	@touch $@

hooks: $(STAMP)  ## run lint, types and the data guard at every commit
	$(BIN)/pre-commit install

# ------------------------------------------------------------------------------------------------------ experiments

# Half the channels: a quarter of the multiply-adds, for a dozen drawn children.
SMALL := "model.widths=[16,32,64,128]"
DRAWN := data=synthetic data.store=data/drawn $(SMALL)

# Two AVX2 cores train at 1.5e10 multiply-adds a second; these two ask for 2.3e12: fewer channels and epochs, and a temporal
# head on the still model's features as they are. Many children with few clips each, so that 24 can be tested.
DEMO := data=synthetic data.store=data/demo protocol=holdout protocol.test_fraction=0.4 protocol.validation_fraction=0.15 "model.widths=[12,24,48,96]"
DEMO_STILL := recipe=demo model=conv4 data.frames=frame trainer.max_epochs=60 trainer.validate_every=15
DEMO_CLIPS := recipe=demo_clips model=cnn_lstm adapt.strategy=head optim.lr=1e-2 trainer.max_epochs=15 trainer.validate_every=5 "trainer.resolution=[]"

demo: data/demo/card.json  ## drawn children, a still and a temporal model, one comparison: four to six and a half minutes on two cores
	$(FER) train $(DEMO) $(DEMO_STILL) name=demo/conv4 $(ARGS)
	$(FER) train $(DEMO) $(DEMO_CLIPS) init.encoder_from=runs/demo/conv4 name=demo/cnn_lstm $(ARGS)
	$(FER) compare runs/demo/conv4 runs/demo/cnn_lstm out=$(OUT)/demo

data/demo/card.json: | $(STAMP)
	$(FER) synth out=$(@D) subjects=60 clips_per_emotion=2 seed=12

loso: data/drawn/card.json  ## a still and a temporal model, judged leave-one-child-out on the drawn cohort: 24 trainings
	$(FER) train $(DRAWN) protocol=loso recipe=demo trainer.max_epochs=200 model=conv4 data.frames=frame name=drawn/conv4 $(ARGS)
	$(FER) train $(DRAWN) protocol=loso recipe=demo_clips model=cnn_lstm init.encoder_from=runs/drawn/conv4 name=drawn/cnn_lstm $(ARGS)
	$(FER) controls runs/drawn/conv4
	$(FER) compare runs/drawn/conv4 runs/drawn/cnn_lstm out=$(OUT)/drawn

benchmark: simulate  ## encoders learned on stills, readers of simulated children's clips: what time is worth (needs FER2013 and FER+, see simulate): an hour on two cores
	$(FER) benchmark data=simulated data.store=data/simulated pretrain.store=data/ferplus out=$(OUT)/benchmark $(ARGS)

ENCODER ?= runs/benchmark-small/encoders/conv4

surface: $(STAMP)  ## after make benchmark: the same readers where expressions, resting faces and movements differ, from where on time helps: half an hour
	$(FER) surface $(ENCODER) out=$(OUT)/surface $(ARGS)

# What the shipped sweeps need; one of your own (SWEEP=my.yaml) brings its data itself.
NEEDS_drawn := data/drawn/card.json
NEEDS_strategies := data/site_a_store/card.json runs/source/cnn_lstm/DONE
NEEDS_models := data/simulated/card.json
NEEDS_lr_augmentation := data/simulated/card.json

sweep: $(STAMP) $(NEEDS_$(SWEEP))  ## the trials of SWEEP, side by side; again, or after a crash: goes on (drawn: three minutes)
	$(FER) sweep run $(SWEEP) $(ARGS)

# What `explain` must find out: the same drawn children with a patch in the background that tells the label, and the remedy.
CONTROL = $(FER) train data=synthetic protocol=holdout recipe=demo model=conv4 data.frames=frame $(SMALL)

shortcut: data/control/none/card.json data/control/patch/card.json  ## the control of explain: a planted shortcut, found and mended
	$(CONTROL) data.store=data/control/none name=control/none $(ARGS)
	$(CONTROL) data.store=data/control/patch name=control/patch $(ARGS)
	$(CONTROL) data.store=data/control/patch augment.background=1 name=control/mended $(ARGS)
	set -e; for run in none patch mended; do $(FER) explain runs/control/$$run; done

data/control/%/card.json: | $(STAMP)
	$(FER) synth out=$(@D) subjects=24 clips_per_emotion=4 seed=31 shortcut=$*

explain: $(STAMP)  ## where a finished run looks, and whether its maps can be believed (RUN=runs/...)
	$(FER) explain $(RUN) $(ARGS)

data/drawn/card.json: | $(STAMP)
	$(FER) synth out=$(@D) subjects=12 seed=7

ADAPT = $(FER) adapt data=cohort data.store=data/site_a_store model=cnn_lstm $(SMALL) init.run=runs/source/cnn_lstm
STRATEGIES := source_only adabn linear_probe gradual full l2sp coral dann

# What the weights that travel with fer_id buy: the same model of stills, in four folds of children, from them and from nothing.
# Its faces are gray, as FER2013's.
STILLS := data=cohort data.store=data/site_a_gray model=conv4 data.frames=frame recipe=adapt protocol=kfold protocol.folds=4

# The site is drawn too, as a folder with tables and videos of children; the source model learned from drawn adults.
adapt: data/site_a_store/card.json data/site_a_gray/card.json runs/source/cnn_lstm/DONE  ## a drawn site's videos -> store -> adapted model, judged child by child; and what shipped:fer2013 buys
	$(ADAPT) adapt.strategy=gradual name=site_a/gradual $(ARGS)
	$(FER) train $(STILLS) name=site_a/from_nothing $(ARGS)
	$(FER) adapt $(STILLS) init.run=shipped:fer2013 adapt.strategy=full name=site_a/from_fer2013 $(ARGS)
	$(FER) compare runs/site_a/from_nothing runs/site_a/from_fer2013 out=$(OUT)/adapt

strategies: data/site_a_store/card.json runs/source/cnn_lstm/DONE  ## every strategy on that site, side by side: about eight times as long
	set -e; for strategy in $(STRATEGIES); do $(ADAPT) adapt.strategy=$$strategy name=site_a/$$strategy $(ARGS); done
	$(FER) compare $(STRATEGIES:%=runs/site_a/%) out=$(OUT)/site_a

data/site_a/cohort.json: | $(STAMP)
	$(FER) synth as=videos out=$(@D) subjects=12 clips_per_emotion=3 seed=21

data/site_a_store/card.json: data/site_a/cohort.json
	$(FER) prepare data=cohort data.source=data/site_a out=$(@D)

data/site_a_gray/card.json: data/site_a/cohort.json
	$(FER) prepare data=cohort data.source=data/site_a data.colour=gray out=$(@D)

runs/source/cnn_lstm/DONE: | $(STAMP)
	test -e data/source/card.json || $(FER) synth out=data/source population=adults subjects=24 clips_per_emotion=4 seed=22
	$(FER) train data=synthetic data.store=data/source $(SMALL) protocol=holdout recipe=demo model=conv4 data.frames=frame name=source/conv4
	$(FER) train data=synthetic data.store=data/source $(SMALL) protocol=holdout recipe=demo_clips model=cnn_lstm init.encoder_from=runs/source/conv4 name=source/cnn_lstm

# FER+ needs its votes beside FER2013's images (VOTES=fer2013new.csv).
simulate: data/simulated/card.json  ## real stills with landmarks -> simulated children (SOURCE=fer2013.csv VOTES=fer2013new.csv)

# A store of an earlier simulation, which the card of a newer one tells, is made again.
.PHONY: again
data/simulated/card.json: data/ferplus/card.json $(if $(shell grep -s '"simulation": 2' data/simulated/card.json),,again)
	$(FER) simulate source=data/ferplus out=$(@D) overwrite=true $(if $(filter simulate,$(MAKECMDGOALS)),$(ARGS))

data/ferplus/card.json: | $(STAMP)
	$(FER) prepare data=ferplus data.labels=ferplus_soft data.source=$(SOURCE) data.votes=$(VOTES) data.landmarks=mediapipe data.workers=2 out=$(@D)

# conv4 on FER2013, aligned by MediaPipe's landmarks as the faces of a video are; cast, judged, explained, gate, pack.
SHIPPED := model=conv4 recipe=tuned optim.ema=0.998 trainer.max_epochs=24 "trainer.resolution=[[0,48],[0.7,64]]" trainer.validate_every=4

shipped: data/fer2013_aligned/card.json  ## the weights that travel with fer_id, made again (SOURCE=fer2013.csv): hours on two cores
	$(FER) train data=fer2013 data.store=data/fer2013_aligned $(SHIPPED) name=fer2013/aligned $(ARGS)
	rm -rf fer_id/shipped/fer2013
	$(FER) release runs/fer2013/aligned policy=fer2013 out=fer_id/shipped/fer2013

data/fer2013_aligned/card.json: | $(STAMP)
	$(FER) prepare data=fer2013 data.source=$(SOURCE) data.landmarks=mediapipe data.workers=2 out=$(@D)

train: $(STORE)/card.json  ## prepare FER2013 once (SOURCE=...), then train MODEL on it
	$(FER) train data=fer2013 data.store=$(STORE) model=$(MODEL) recipe=tuned name=$(NAME) $(ARGS)

$(STORE)/card.json: | $(STAMP)
	$(FER) prepare data=fer2013 data.source=$(SOURCE) out=$(@D)

# FER2013 as good as it gets, see docs/TRAINING.md: STEP=0 to 9 are short runs, each one change on BEST, the settings that were
# kept so far; inner validation alone decides (better by 2 SE of the paired NLL). Then BEST trains long, once, and is tested.
FER48 := data=fer2013 data.store=data/fer2013_48 model=conv4 recipe=fer2013
BEST ?=
STEP ?= 0
BESIDE ?= runs/fer2013/step0
TENTH := trainer.budget=4.5e13
STEP_0 := $(TENTH)
STEP_1 := $(TENTH) optim.name=sgd optim.lr=0.1 optim.weight_decay=5e-4 batch_size=128
STEP_2 := $(TENTH) loss.votes=0.3 loss.votes_head=0.3 loss.label_smoothing=0
STEP_3 := $(TENTH) "trainer.resolution=[[0,32],[0.4,40],[0.7,48]]"
STEP_4 := $(TENTH) "model.widths=[48,96,192,384]"
STEP_5 := $(TENTH) model.encoder=shallow "model.widths=[64,128,256]" "model.convs=[2,2,2]" model.space_to_depth=true
STEP_6 := $(TENTH) model.dropout=0.4 augment.rotation_deg=15 augment.scale=0.2 augment.shift=0.1 augment.occlusion=0.5
STEP_7 := $(TENTH) optim.ema=0.998
STEP_8 := trainer.budget=1.5e13
STEP_9 := $(TENTH) seed=1

fer2013-step: data/fer2013_48/card.json  ## a short run of FER2013's plan (STEP=0..9 BEST="settings kept so far" BESIDE=run it is compared with)
	$(FER) train $(FER48) protocol.test=false $(BEST) $(STEP_$(STEP)) name=fer2013/step$(STEP) $(ARGS)
	$(if $(filter-out 0,$(STEP)),$(FER) compare $(BESIDE) runs/fer2013/step$(STEP) out=$(OUT)/fer2013)

fer2013: data/fer2013_48/card.json  ## the long run of that plan with BEST, judged once on the public test: an hour with bf16
	$(FER) train $(FER48) $(BEST) name=fer2013/best $(ARGS)

data/fer2013_48/card.json: | $(STAMP)
	$(FER) prepare data=fer2013 data.labels=fer2013_votes data.source=$(SOURCE) data.votes=$(VOTES) data.crop=48 out=$(@D)

compare: $(STAMP)  ## the finished runs side by side (RUNS="runs/a runs/b")
	$(FER) compare $(RUNS) out=$(OUT) $(ARGS)

wandb-sweep: $(STAMP)  ## a W&B server leads the sweep, this machine trains for it (SWEEP=name; ID=sweep joins one; needs a key)
	$(FER) wandb sweep $(SWEEP) $(if $(ID),id=$(ID)) $(ARGS)

dashboard: $(STAMP)  ## the team's page in W&B: studies, folds, sweeps (needs a key; ARGS="project=fer-id entity=team")
	$(FER) wandb dashboard $(ARGS)

bench: $(STAMP)  ## throughput and start-up times against their targets
	$(BIN)/python -m experiments.measure.bench $(ARGS)

# ------------------------------------------------------------------------------------------------------ development

# With bytecode, which some environments switch off: without it every process compiles the packages and the tests again.
test test-slow test-all: export PYTHONDONTWRITEBYTECODE =

test: $(STAMP)  ## the test-suite, without the slow ones (ARGS="-k store")
	$(BIN)/pytest -n $(WORKERS) --maxprocesses=4 --dist=worksteal $(ARGS)

test-slow: $(STAMP)  ## the slow ones alone
	$(BIN)/pytest -n $(WORKERS) --maxprocesses=4 --dist=worksteal -m slow $(ARGS)

test-all: $(STAMP)  ## every test
	$(BIN)/pytest -n $(WORKERS) --maxprocesses=4 --dist=worksteal -m '' $(ARGS)

test-lowest: $(STAMP)  ## the tests with the oldest releases that pyproject.toml permits: another 6 GB, in build/lowest
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python build/lowest
	$(BIN)/uv pip install --quiet --python build/lowest/bin/python --resolution lowest-direct --editable '.[dev]'
	build/lowest/bin/pytest -n $(WORKERS) --maxprocesses=4 --dist=worksteal $(ARGS)

lint: $(STAMP)  ## ruff: rules and formatting
	$(BIN)/ruff check && $(BIN)/ruff format --check

format: $(STAMP)  ## let ruff mend what it can
	$(BIN)/ruff check --fix && $(BIN)/ruff format

type: $(STAMP)  ## mypy, strict
	$(BIN)/mypy

docs: $(STAMP)  ## the site of README and docs, with the reference of the library (installs its generator); a broken link fails
	@$(BIN)/python -c 'import autoapi, furo, myst_parser' 2>/dev/null || $(BIN)/python .ci/install.py docs
	$(BIN)/python -m sphinx -q -W --keep-going -c docs . build/docs && echo build/docs/docs/index.html

audit: $(STAMP)  ## known vulnerabilities of the tested versions (asks the package index: needs the network)
	@$(BIN)/pip-audit --requirement constraints.txt --no-deps --disable-pip --progress-spinner off $(ARGS) \
	  || { echo 'Either a version above has a known vulnerability, or the package index could not be asked: this needs the network' >&2; exit 1; }

clean:  ## remove caches and build products; data, runs and .venv stay
	rm -rf build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis && find fer_id data_modules experiments tests -name __pycache__ -prune -exec rm -rf {} +

distclean: clean  ## after asking: remove .venv, data/, runs/ and compare/ as well
	@printf 'Delete .venv, data/ (stores), runs/ (trained models) and $(OUT)/? Type yes: '; read answer; if [ "$$answer" = yes ]; then rm -rf .venv data runs $(OUT); fi

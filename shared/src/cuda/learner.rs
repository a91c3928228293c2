//! Training steps on a device. The host submits steps ahead and does not wait for each one; their
//! reports arrive later, in order.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use super::Precision;
use super::arena::{Arena, Placement};
use super::arguments::{AdamW, Clip, Gradient, NONE, SquareSums};
use super::backward::{Backward, PARTS, Sums};
use super::batch::{Sender, TrainingInputPlan};
use super::device::{Buffer, Device, Event, PinnedBuffer};
use super::encoder::{Core, Losses, fitting};
use super::program::tile;
use super::tape::{Capacity, GradientTape, Tape};
use crate::batch::{PackedBatch, plan};
use crate::engine::Engine;
use crate::fused::Depth;
use crate::fused::layout::Layout;
use crate::fused::update::Update;
use crate::weights::Weights;
use crate::{EncoderConfig, Error, LABELS};

/// Elements of a piece of a tensor. One block updates one piece.
const PIECE: usize = 32 * 1024;

/// Steps whose rates and targets may be in flight to the device.
const SLOTS: usize = 4;

/// The reviews of a training step, and its targets and updates.
pub struct TrainingStep<'a> {
    /// Token ids of each review.
    pub reviews: &'a [&'a [u32]],
    /// The key of each review's random stream.
    pub keys: &'a [u64],
    /// The label of each, 0 to 4.
    pub labels: &'a [usize],
    /// The targets t of each label. The loss of a review is -Σ t_c ln p_c. The loss of the step is
    /// the sum over its reviews, so the targets include the mean's divisor.
    pub targets: [[f32; LABELS]; LABELS],
    /// The update of each tensor of the layout, without `clip`, which the device computes; `None`
    /// for a frozen tensor.
    pub updates: &'a [Option<Update>],
    /// The norm to which the gradient is clipped.
    pub max_norm: f32,
}

/// The result of a step.
#[derive(Debug, Clone)]
pub struct StepReport {
    /// The step's loss.
    pub loss: f64,
    /// The gradient's norm before clipping. If it or the loss is NaN or infinite, neither this step
    /// nor any later step changed the weights.
    pub norm: f64,
    /// The sum of squares of each tensor's gradient.
    pub squares: Vec<f32>,
}

/// Settings of a [`Learner`].
pub struct LearnerSettings<'a> {
    /// Precision of the computation.
    pub precision: Precision,
    /// The lowest part of the model that needs gradients.
    pub depth: Depth,
    /// Whether each tensor of the layout is trained.
    pub trained: &'a [bool],
    /// Tokens to compute at once; see [`Learner::token_budget`].
    pub token_budget: usize,
    /// The largest number of reviews in a step.
    pub reviews: usize,
}

/// A model being trained on a device, with its optimiser.
pub struct Learner {
    pub(super) core: Core,
    buffers: Mutex<Buffers>,
    capacity: Capacity,
    sums: Sums,
    first_moment: Arena,
    second_moment: Arena,
    pieces: TensorPieces,
    /// A step's rates of all tensors, followed by the targets of all labels.
    numbers: Buffer<f32>,
    number_slots: Vec<(PinnedBuffer<f32>, Event)>,
    turn: usize,
    /// The clipping factor, and whether the optimiser is halted.
    state: Buffer<u32>,
    report: Buffer<f32>,
    /// Reports in flight, in the order of their steps, and slots that are free for more.
    pending: VecDeque<(PinnedBuffer<f32>, Event)>,
    idle: Vec<(PinnedBuffer<f32>, Event)>,
    /// Token ids that have occurred in the step.
    seen: HashSet<u32>,
    steps: u32,
    most_reviews: usize,
}

/// Buffers for computing batches.
struct Buffers {
    sender: Sender,
    tape: Tape,
    grad: GradientTape,
    logits: PinnedBuffer<f32>,
    /// The loss of each review of a step.
    losses: Buffer<f32>,
}

/// The trained tensors, cut into pieces.
struct TensorPieces {
    /// Start, length and tensor of each piece.
    table: Buffer<u32>,
    count: usize,
    /// Index of the first piece of each tensor.
    starts: Buffer<u32>,
    /// The sum of squares of each piece's gradient.
    sums: Buffer<f32>,
}

impl TensorPieces {
    fn new(
        device: &Arc<dyn Device>,
        placement: &Placement,
        trained: &[bool],
    ) -> Result<TensorPieces, Error> {
        let (mut table, mut starts) = (Vec::new(), vec![0]);
        for ((tensor, placed), _) in (0u32..)
            .zip(placement.layout.tensors())
            .zip(trained)
            .filter(|(_, trained)| **trained)
        {
            let range = placement.place(&placed.range);
            starts.resize(tensor as usize + 1, table.len() as u32 / 3);
            table.extend(
                range
                    .clone()
                    .step_by(PIECE)
                    .flat_map(|start| [start as u32, PIECE.min(range.end - start) as u32, tensor]),
            );
        }
        starts.resize(placement.layout.tensors().len() + 1, table.len() as u32 / 3);
        let count = table.len() / 3;
        let pieces = TensorPieces {
            table: Buffer::new(device, table.len())?,
            count,
            starts: Buffer::new(device, starts.len())?,
            sums: Buffer::new(device, count)?,
        };
        pieces.table.write(0, &table)?;
        pieces.starts.write(0, &starts)?;
        Ok(pieces)
    }
}

impl Learner {
    /// Puts a model on a device for training.
    ///
    /// # Errors
    /// [`Error::MissingTensor`] or [`Error::TensorShape`] for a tensor that does not match
    /// `config`; [`Error::Device`] for a model that the kernels do not support;
    /// [`Error::DeviceMemory`] when the memory does not suffice for the model and its longest
    /// review.
    pub fn new(
        device: &Arc<dyn Device>,
        config: &EncoderConfig,
        weights: &Weights,
        settings: &LearnerSettings<'_>,
    ) -> Result<Learner, Error> {
        let layout = Arc::new(Layout::of(config));
        let core = Core::new(
            device,
            config,
            &layout,
            &layout.gather(weights)?,
            settings.precision,
        )?;
        let placement = core.values.placement.clone();
        let stride = layout.vectors.len() + config.hidden_size;
        let sums = Sums {
            gradients: Arena::zeroed(device, &placement)?,
            parts: Buffer::zeroed(device, PARTS * stride)?,
            stride,
            marks: Buffer::zeroed(device, config.vocab_size)?,
            depth: settings.depth,
        };
        let [first_moment, second_moment] = [
            Arena::zeroed(device, &placement)?,
            Arena::zeroed(device, &placement)?,
        ];
        let pieces = TensorPieces::new(device, &placement, settings.trained)?;
        let tensors = layout.tensors().len();
        let numbers = 2 * tensors + LABELS * LABELS;
        let slot = |_| Ok((PinnedBuffer::new(device, numbers)?, Event::new(device)?));
        let (buffers, capacity) = fitting(config, settings.token_budget, |tokens| {
            // Allow for more reviews than a step has, because evaluations rate more at once.
            let capacity = Capacity {
                tokens,
                reviews: settings.reviews.max(tokens / 8).min(tokens),
            };
            let buffers = Buffers {
                sender: Sender::new(device, capacity)?,
                tape: Tape::new(device, config, settings.precision, capacity, true)?,
                grad: GradientTape::new(device, config, settings.precision, capacity)?,
                logits: PinnedBuffer::new(device, capacity.reviews * LABELS)?,
                losses: Buffer::new(device, settings.reviews)?,
            };
            Ok((buffers, capacity))
        })?;
        Ok(Learner {
            buffers: Mutex::new(buffers),
            capacity,
            sums,
            first_moment,
            second_moment,
            pieces,
            numbers: Buffer::new(device, numbers)?,
            number_slots: (0..SLOTS).map(slot).collect::<Result<_, Error>>()?,
            turn: 0,
            state: Buffer::zeroed(device, 2)?,
            report: Buffer::zeroed(device, 2 + tensors)?,
            pending: VecDeque::new(),
            idle: Vec::new(),
            seen: HashSet::new(),
            steps: 0,
            most_reviews: settings.reviews,
            core,
        })
    }

    /// Tokens that are computed at once: the number that was set, or the length of the longest
    /// review if that is larger. It was halved as often as needed to fit the memory.
    pub fn token_budget(&self) -> usize {
        self.capacity.tokens
    }

    /// The layout of weights and moments.
    pub fn layout(&self) -> &Arc<Layout> {
        &self.core.values.placement.layout
    }

    /// Submits a step without waiting for it. Its result arrives through [`Learner::reports`].
    ///
    /// # Errors
    /// [`Error::Input`] for a token id beyond the vocabulary, a review longer than the positions,
    /// or more reviews than the learner was created for; [`Error::Device`] when the device fails.
    pub fn step(&mut self, step: &TrainingStep<'_>) -> Result<(), Error> {
        if step.reviews.len() > self.most_reviews {
            return Err(Error::Input(format!(
                "a step has {} reviews, but the learner was created for {}",
                step.reviews.len(),
                self.most_reviews
            )));
        }
        let lengths: Vec<usize> = step.reviews.iter().map(|ids| ids.len()).collect();
        let groups = plan(&lengths, self.capacity.tokens);
        let batches: Vec<PackedBatch> = groups
            .iter()
            .map(|group| {
                PackedBatch::new(&group.iter().map(|i| step.reviews[*i]).collect::<Vec<_>>())
            })
            .collect::<Result<_, Error>>()?;
        // Check all batches before anything is submitted: a step is done completely or not at all.
        batches
            .iter()
            .try_for_each(|batch| self.core.config.check(batch))?;
        self.send_numbers(step)?;
        // Steps count from 1, because the rows' marks are initially 0.
        self.steps += 1;
        self.seen.clear();
        let mut before = 0;
        for (group, batch) in groups.iter().zip(&batches) {
            self.batch(step, group, batch, before)?;
            before += group.len();
        }
        self.update(step, before)
    }

    /// Uploads the rates of all tensors and the targets of all labels.
    fn send_numbers(&mut self, step: &TrainingStep<'_>) -> Result<(), Error> {
        let (slot, copied) = &mut self.number_slots[self.turn];
        self.turn = (self.turn + 1) % SLOTS;
        copied.wait()?;
        let rates = step
            .updates
            .iter()
            .flat_map(|update| update.map_or([1.0, 0.0], |update| [update.shrink, update.size]));
        let numbers = rates.chain(step.targets.as_flattened().iter().copied());
        slot.as_mut_slice()
            .iter_mut()
            .zip(numbers)
            .for_each(|(to, number)| *to = number);
        self.numbers.send(slot, self.numbers.len())?;
        copied.record()
    }

    /// Forward and backward pass of one batch: the reviews `group` of the step. `before` reviews of
    /// the step precede it.
    fn batch(
        &mut self,
        step: &TrainingStep<'_>,
        group: &[usize],
        batch: &PackedBatch,
        before: usize,
    ) -> Result<(), Error> {
        let Learner {
            core,
            buffers,
            sums,
            numbers,
            seen,
            ..
        } = self;
        let buffers = buffers.get_mut().unwrap_or_else(PoisonError::into_inner);
        let keys: Vec<u64> = group.iter().map(|i| step.keys[*i]).collect();
        let labels: Vec<u32> = group.iter().map(|i| step.labels[*i] as u32).collect();
        let sent = buffers.sender.send(
            batch,
            tile(&core.config),
            Some(TrainingInputPlan {
                keys: &keys,
                labels: &labels,
                seen,
            }),
        )?;
        let Some(training) = sent.training else {
            return Ok(());
        };
        let losses = Losses {
            labels: training.labels,
            targets: numbers.at(numbers.len() - LABELS * LABELS),
            losses: buffers.losses.at(before),
            d_logits: buffers.grad.logits.start(),
            pooled: buffers.grad.pooled.start(),
        };
        // SAFETY: the batch was packed for the capacity of the tape and of the losses.
        unsafe { core.forward(&sent, &buffers.tape, Some(&losses)) }?;
        let (tape, grad, mark) = (&buffers.tape, &buffers.grad, self.steps);
        let backward = Backward {
            core,
            batch: &sent,
            training: &training,
            tape,
            grad,
            sums,
            add: before > 0,
            mark,
        };
        // SAFETY: the forward pass above filled the tape with this batch.
        unsafe { backward.run() }
    }

    /// Clips the gradient, updates the weights and requests the report.
    fn update(&mut self, step: &TrainingStep<'_>, reviews: usize) -> Result<(), Error> {
        let placement = &self.core.values.placement;
        let program = &self.core.program;
        let blocks = [self.pieces.count, 1, 1];
        let of = Gradient {
            gradient: self.sums.gradients.start().into(),
            marks: self.sums.marks.start().into(),
            mark: self.steps,
            words: placement.words().start as u32,
        };
        let arguments = SquareSums {
            of,
            pieces: self.pieces.table.start().into(),
            sums: self.pieces.sums.start().into(),
        };
        // SAFETY: here and below, the buffers are those of this model, and the pieces cover its
        // weights.
        unsafe { program.launch(blocks, arguments) }?;
        let tensors = placement.layout.tensors().len();
        let arguments = Clip {
            sums: self.pieces.sums.start().into(),
            piece_starts: self.pieces.starts.start().into(),
            losses: self
                .buffers
                .get_mut()
                .unwrap_or_else(PoisonError::into_inner)
                .losses
                .start()
                .into(),
            state: self.state.start().into(),
            report: self.report.start().into(),
            tensors: tensors as u32,
            reviews: reviews as u32,
            max_norm: step.max_norm,
        };
        // SAFETY: as above; there is a loss for each review of the step.
        unsafe { program.launch([1, 1, 1], arguments) }?;
        let arguments = AdamW {
            of,
            pieces: self.pieces.table.start().into(),
            state: self.state.start().into(),
            rates: self.numbers.start().into(),
            values: self.core.values.start().into(),
            first: self.first_moment.start().into(),
            second: self.second_moment.start().into(),
            halves: self.core.halves.as_ref().map_or(NONE, Buffer::start).into(),
            // `root` is the same for all tensors, because it depends only on the number of updates.
            root: step
                .updates
                .iter()
                .flatten()
                .next()
                .map_or(1.0, |update| update.root),
            matrices: placement.matrices() as u32,
        };
        // SAFETY: as above.
        unsafe { program.launch(blocks, arguments) }?;
        let (mut slot, arrived) = match self.idle.pop() {
            Some(slot) => slot,
            None => (
                PinnedBuffer::new(&self.core.device, 2 + tensors)?,
                Event::new(&self.core.device)?,
            ),
        };
        self.report.fetch(&mut slot, 2 + tensors)?;
        arrived.record()?;
        self.pending.push_back((slot, arrived));
        Ok(())
    }

    /// Results of steps, in order: those that have arrived or, if `all`, those of all submitted
    /// steps, for which it waits.
    ///
    /// # Errors
    /// [`Error::Device`] when the device failed.
    pub fn reports(&mut self, all: bool) -> Result<Vec<StepReport>, Error> {
        let mut out = Vec::new();
        while let Some((slot, arrived)) = self.pending.pop_front() {
            if all {
                arrived.wait()?;
            } else if !arrived.is_done()? {
                self.pending.push_front((slot, arrived));
                break;
            }
            let numbers = slot.as_slice();
            out.push(StepReport {
                loss: f64::from(numbers[0]),
                norm: f64::from(numbers[1]),
                squares: numbers[2..].to_vec(),
            });
            self.idle.push((slot, arrived));
        }
        Ok(out)
    }

    /// All weights, after all submitted work is done.
    ///
    /// # Errors
    /// [`Error::Device`] when the device failed.
    pub fn values(&self) -> Result<Vec<f32>, Error> {
        self.core.values.read()
    }

    /// First and second moments, after all submitted work is done.
    ///
    /// # Errors
    /// As [`Learner::values`].
    pub fn moments(&self) -> Result<[Vec<f32>; 2], Error> {
        Ok([self.first_moment.read()?, self.second_moment.read()?])
    }

    /// Replaces the optimiser's first and second moments.
    ///
    /// # Errors
    /// As [`Learner::values`].
    pub fn restore(&mut self, [first, second]: [&[f32]; 2]) -> Result<(), Error> {
        self.first_moment.write(first)?;
        self.second_moment.write(second)
    }

    /// The gradients of the last step, in the layout's order. Rows of the word embedding that did
    /// not occur are zero.
    ///
    /// # Errors
    /// As [`Learner::values`].
    pub fn gradients(&self) -> Result<Vec<f32>, Error> {
        let mut gradients = self.sums.gradients.read()?;
        let mut marks = vec![0; self.sums.marks.len()];
        self.sums.marks.read(0, &mut marks)?;
        let layout = self.layout();
        for (row, mark) in gradients[layout.words()]
            .chunks_exact_mut(layout.width())
            .zip(marks)
        {
            if mark != self.steps {
                row.fill(0.0);
            }
        }
        Ok(gradients)
    }
}

/// Rates with the weights as they are after all submitted work is done.
impl Engine for Learner {
    fn logits(&self, batch: &PackedBatch) -> Result<Vec<[f32; LABELS]>, Error> {
        let mut buffers = self.buffers.lock().unwrap_or_else(PoisonError::into_inner);
        let Buffers {
            sender,
            tape,
            logits,
            ..
        } = &mut *buffers;
        self.core.rate(batch, self.capacity, sender, tape, logits)
    }

    fn token_budget(&self) -> usize {
        self.capacity.tokens
    }
}

//! The arguments of each kernel, declared once for both Rust and the kernels' C.

use std::marker::PhantomData;

use super::device::Address;
use super::program::{
    ATTENTION_THREADS, CLIP_THREADS, COLUMN_THREADS, GROUP_THREADS, HEAD_THREADS, ROW_THREADS,
    UPDATE_THREADS,
};

/// A type's name in C.
pub(super) trait CType {
    fn name() -> String;
}

macro_rules! c_types {
    ($($type:ty => $name:literal),* $(,)?) => { $(impl CType for $type { fn name() -> String { $name.into() } })* };
}

/// An activation in its stored precision: bf16 or f32, depending on how the program was compiled.
pub(super) struct Stored;

c_types! { f32 => "float", u32 => "unsigned", u64 => "u64", Stored => "stored" }

/// A pointer to data that a kernel reads.
#[allow(dead_code, reason = "the kernel reads it")]
pub(super) struct In<T>(Address, PhantomData<T>);

/// A pointer to data that a kernel writes.
#[allow(dead_code, reason = "as above")]
pub(super) struct Out<T>(Address, PhantomData<T>);

macro_rules! pointers {
    ($($name:ident: $form:literal),*) => { $(
        impl<T> Clone for $name<T> {
            fn clone(&self) -> Self {
                *self
            }
        }
        impl<T> Copy for $name<T> {}
        impl<T> From<Address> for $name<T> {
            fn from(address: Address) -> Self {
                $name(address, PhantomData)
            }
        }
        impl<T: CType> CType for $name<T> {
            fn name() -> String {
                format!($form, T::name())
            }
        }
    )* };
}

pointers! { In: "const {} *", Out: "{} *" }

/// The null address, for an operand that is absent.
pub(super) const NONE: Address = 0;

/// The arguments of the kernel named `NAME`.
pub(super) trait Kernel: Copy {
    /// The kernel's name.
    const NAME: &'static str;
    /// Threads in a block.
    const THREADS: u32;
}

macro_rules! structs {
    ($($(#[$doc:meta])* $name:ident as $c:ident $([$threads:expr])? { $($(#[$about:meta])* $field:ident: $type:ty),* $(,)? })*) => {
        $(
            $(#[$doc])*
            #[repr(C)]
            #[derive(Clone, Copy)]
            pub(super) struct $name { $($(#[$about])* pub $field: $type),* }

            impl CType for $name {
                fn name() -> String {
                    concat!("struct ", stringify!($c)).into()
                }
            }
        )*

        /// C declarations of all the structs.
        pub(super) fn declarations() -> String {
            let mut out = String::new();
            $(
                out += concat!("struct ", stringify!($c), " {\n");
                $(out += &format!("    {} {};\n", <$type as CType>::name(), stringify!($field));)*
                out += "};\n";
            )*
            out
        }
    };
}

macro_rules! kernels {
    ($($(#[$doc:meta])* $name:ident as $c:ident = $kernel:literal [$threads:expr] { $($(#[$about:meta])* $field:ident: $type:ty),* $(,)? })*) => {
        structs! {
            /// Rows of a packed batch, with the keys of their dropout streams.
            RowArguments as rows {
                /// The key of each review's random stream, (reviews).
                keys: In<u64>,
                /// Index of each token's review, (tokens).
                reviews: In<u32>,
                /// Each token's position in its review, (tokens).
                positions: In<u32>,
                /// Whether the rows are only the first tokens of the reviews.
                first: u32,
            }

            /// The operands of attention.
            AttentionOperands as attention {
                /// Queries, (tokens or reviews, `q_stride`), before the biases are added.
                q: In<Stored>,
                /// Keys, followed WIDTH elements later by values, (tokens, `kv_stride`), before the
                /// biases are added.
                kv: In<Stored>,
                q_bias: In<f32>,
                kv_bias: In<f32>,
                /// Where each review begins, (reviews + 1).
                starts: In<u32>,
                /// The key of each review's random stream, (reviews).
                keys: In<u64>,
                /// The review and first token of each block's tile, (tiles, 2).
                tiles: In<u32>,
                site: u64,
                q_stride: u32,
                kv_stride: u32,
                /// 1 / sqrt(HEAD)
                scale: f32,
                threshold: u32,
                drop_scale: f32,
                /// Whether only the queries of each review's first token are computed.
                first_only: u32,
            }

            /// A range of a tensor's elements.
            TensorPiece as piece { start: u32, length: u32, tensor: u32 }

            /// The gradient of the weights.
            Gradient as weights {
                gradient: In<f32>,
                /// The last step in which each row of the word embedding had a gradient.
                marks: In<u32>,
                /// The current step's number in `marks`.
                mark: u32,
                /// Where the word embedding begins.
                words: u32,
            }

            /// State that the optimiser keeps between steps.
            OptimizerState as state { clip: f32, halted: u32 }

            $($(#[$doc])* $name as $c { $($(#[$about])* $field: $type),* })*
        }

        $(impl Kernel for $name {
            const NAME: &'static str = $kernel;
            const THREADS: u32 = $threads;
        })*

        /// The names of all kernels.
        pub(super) const KERNELS: &[&str] = &[$($kernel),*];
    };
}

kernels! {
    /// Embeddings, LayerNorm and dropout: see rows.cu.
    Embed as embed_arguments = "embed" [ROW_THREADS] {
        ids: In<u32>,
        at: RowArguments,
        words: In<f32>,
        position_table: In<f32>,
        segment: In<f32>,
        scale: In<f32>,
        bias: In<f32>,
        sum: Out<Stored>,
        moments: Out<f32>,
        y: Out<Stored>,
        site: u64,
        rows: u32,
        eps: f32,
        threshold: u32,
        drop_scale: f32,
    }

    /// Bias, dropout, residual, LayerNorm.
    AddNorm as add_norm_arguments = "add_norm" [ROW_THREADS] {
        x: In<Stored>,
        x_bias: In<f32>,
        residual: In<Stored>,
        at: RowArguments,
        scale: In<f32>,
        bias: In<f32>,
        sum: Out<Stored>,
        moments: Out<f32>,
        y: Out<Stored>,
        site: u64,
        rows: u32,
        eps: f32,
        threshold: u32,
        drop_scale: f32,
    }

    /// Backward pass of a LayerNorm and the dropouts around it.
    NormBackward as norm_backward_arguments = "norm_backward" [ROW_THREADS] {
        dy: Out<f32>,
        sum: In<Stored>,
        moments: In<f32>,
        scale: In<f32>,
        dropped: Out<Stored>,
        at: RowArguments,
        parts: Out<f32>,
        site: u64,
        part_stride: u32,
        /// Offsets in a part of the sums for the scale, the bias and the added linear output.
        scale_at: u32,
        bias_at: u32,
        added_at: u32,
        rows: u32,
        threshold_before: u32,
        threshold_after: u32,
        drop_scale: f32,
    }

    /// Copies the rows of the reviews' first tokens.
    GatherFirst as gather_first_arguments = "gather_first" [ROW_THREADS] { x: In<Stored>, starts: In<u32>, first: Out<Stored>, rows: u32 }

    /// The reverse of [`GatherFirst`], for gradients: rows of other tokens become zero.
    ScatterFirst as scatter_first_arguments = "scatter_first" [ROW_THREADS] {
        first: In<f32>,
        positions: In<u32>,
        reviews: In<u32>,
        x: Out<f32>,
        rows: u32,
    }

    /// Bias and activation: see columns.cu.
    Activate as activate_arguments = "activate" [COLUMN_THREADS] { x: In<Stored>, bias: In<f32>, y: Out<Stored>, rows: u32 }

    /// Backward pass of the bias and activation.
    ActivateBackward as activate_backward_arguments = "activate_backward" [COLUMN_THREADS] {
        x: In<Stored>,
        bias: In<f32>,
        y: Out<Stored>,
        dy: Out<Stored>,
        parts: Out<f32>,
        part_stride: u32,
        bias_at: u32,
        rows: u32,
    }

    /// Sums over rows, for the gradient of a bias.
    ColumnSums as column_sums_arguments = "column_sums" [COLUMN_THREADS] {
        x: In<Stored>,
        parts: Out<f32>,
        part_stride: u32,
        bias_at: u32,
        rows: u32,
        columns: u32,
    }

    /// Sums over parts.
    SumParts as sum_parts_arguments = "sum_parts" [GROUP_THREADS] {
        parts: In<f32>,
        gradient: Out<f32>,
        segment: Out<f32>,
        count: u32,
        part_stride: u32,
        vectors: u32,
        add: u32,
    }

    /// Forward pass of attention: see attention.cu.
    AttentionForward as attention_forward_arguments = "attention_forward" [ATTENTION_THREADS] {
        of: AttentionOperands,
        context: Out<Stored>,
        log_sums: Out<f32>,
    }

    /// The gradient of queries.
    AttentionBackwardQueries as attention_backward_queries_arguments = "attention_backward_queries" [ATTENTION_THREADS] {
        of: AttentionOperands,
        grad: In<Stored>,
        context: In<Stored>,
        log_sums: In<f32>,
        products: Out<f32>,
        dq: Out<Stored>,
    }

    /// The gradients of keys and values.
    AttentionBackwardKeys as attention_backward_keys_arguments = "attention_backward_keys" [ATTENTION_THREADS] {
        of: AttentionOperands,
        grad: In<Stored>,
        log_sums: In<f32>,
        products: In<f32>,
        dkv: Out<Stored>,
    }

    /// The classification head and its loss: see head.cu.
    Classify as classify_arguments = "classify" [HEAD_THREADS] {
        x: Out<Stored>,
        bias: In<f32>,
        classifier: In<f32>,
        classifier_bias: In<f32>,
        logits: Out<f32>,
        keys: In<u64>,
        /// Null when the batch is only rated.
        labels: In<u32>,
        /// The target distribution of each label, (LABELS, LABELS).
        targets: In<f32>,
        losses: Out<f32>,
        d_logits: Out<f32>,
        pooled: Out<f32>,
        site: u64,
        rows: u32,
        threshold: u32,
        drop_scale: f32,
    }

    /// The gradient of the classifier.
    ClassifierGradient as classifier_gradient_arguments = "classifier_gradient" [GROUP_THREADS] {
        pooled: In<f32>,
        d_logits: In<f32>,
        gradient: Out<f32>,
        parts: Out<f32>,
        bias_at: u32,
        rows: u32,
        add: u32,
    }

    /// The gradient of the word embedding: see embedding.cu.
    WordGradient as word_gradient_arguments = "word_gradient" [GROUP_THREADS] {
        dx: In<f32>,
        order: In<u32>,
        starts: In<u32>,
        ids: In<u32>,
        gradient: Out<f32>,
        marks: Out<u32>,
        mark: u32,
    }

    /// The gradient of the position embedding.
    PositionGradient as position_gradient_arguments = "position_gradient" [GROUP_THREADS] {
        dx: In<f32>,
        starts: In<u32>,
        gradient: Out<f32>,
        reviews: u32,
    }

    /// Sums of squares of the gradient: see update.cu.
    SquareSums as square_sums_arguments = "square_sums" [UPDATE_THREADS] { of: Gradient, pieces: In<TensorPiece>, sums: Out<f32> }

    /// The gradient's norm and the clipping factor that follows from it.
    Clip as clip_arguments = "clip" [CLIP_THREADS] {
        sums: In<f32>,
        /// Where the pieces of each tensor begin, (tensors + 1).
        piece_starts: In<u32>,
        losses: In<f32>,
        state: Out<OptimizerState>,
        /// Loss, norm, and the sum of squares of each tensor's gradient, (2 + tensors).
        report: Out<f32>,
        tensors: u32,
        reviews: u32,
        max_norm: f32,
    }

    /// The AdamW update.
    AdamW as adamw_arguments = "adamw" [UPDATE_THREADS] {
        of: Gradient,
        pieces: In<TensorPiece>,
        state: In<OptimizerState>,
        /// `shrink` and `size` of each tensor, (tensors, 2).
        rates: In<f32>,
        values: Out<f32>,
        first: Out<f32>,
        second: Out<f32>,
        /// The matrices in bf16.
        halves: Out<u16>,
        root: f32,
        /// Where the matrices end.
        matrices: u32,
    }

    /// Copies the matrices in bf16.
    RoundMatrices as round_matrices_arguments = "round_matrices" [UPDATE_THREADS] { values: In<f32>, halves: Out<u16>, count: u32 }
}

c_types! { u16 => "unsigned short" }

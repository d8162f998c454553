//! The named bound of every queue, buffer, name and body that is not configuration. A bound that an operator may turn lives
//! in `config`; one that protects an invariant lives here. Nothing in Siding grows without one of the two.

/// Longest model, version or lane name, in bytes.
pub const NAME_BYTES_MAX: usize = 128;
/// Longest `Idempotency-Key`, in bytes, after removing the quotes.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;
/// Largest HTTP request body, in bytes. Reading stops there: a larger body is never held.
pub const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Request bodies held at once by one process, in bytes, while they are read and until their jobs are stored; one more is refused
/// with 429.
pub const BODIES_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Longest time that a request body may take to arrive, in seconds.
pub const BODY_READ_SECS_MAX: u64 = 30;
/// Bytes of JSON that are parsed on the executor, which takes a millisecond or so; longer texts are parsed beside it.
pub const EXECUTOR_BYTES_MAX: usize = 256 * 1024;
/// Deepest nesting of a request body. Models nest to `TENSOR_RANK_MAX` and a few levels around it.
pub const JSON_DEPTH_MAX: usize = 64;
/// Most keys in a request body, over all its objects.
pub const JSON_KEYS_MAX: usize = 10_000;
/// Most jobs in one batch: one request, one transaction, one publish.
pub const BATCH_JOBS_MAX: usize = 1000;
/// Batches that one process handles at once, from when their bodies are read to the writing of their answers; one more is refused with 429.
pub const BATCHES_OPEN_MAX: usize = 64;
/// Requests to deal with dead jobs that one process handles at once; one more is refused with 429. Each holds the inputs of one group of
/// `GROUP_ROWS_MAX` jobs, at most `INLINE_BYTES_MAX` each: 16 MiB.
pub const DEALS_OPEN_MAX: usize = 4;
/// Most wrong values that are named of one job of a batch.
pub const BATCH_JOB_WRONG_VALUES_MAX: usize = 10;
/// Most wrong values that are named of a batch that is refused as a whole.
pub const BATCH_WRONG_VALUES_MAX: usize = 100;
/// Most dead jobs that one request deals with.
pub const DEAD_JOBS_MAX: usize = 1000;
/// Inputs of one batch that are written to the blob store at once.
pub const BATCH_BLOBS_AT_ONCE: usize = 8;
/// Inputs and outputs up to this size, in bytes of JSON text, live in the job's row; larger ones in a blob.
pub const INLINE_BYTES_MAX: usize = 64 * 1024;
/// Largest output of one job, in bytes of JSON text. A larger one fails the job, permanently.
pub const OUTPUT_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Largest output that a job's view shows, in bytes of JSON text; a larger one is fetched by itself.
pub const VIEW_OUTPUT_BYTES_MAX: usize = 256 * 1024;
/// Outputs in views that are on their way to callers, in bytes; further views wait a moment and are refused with 503.
pub const VIEWS_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Pieces of results that are on their way to callers, in bytes; further pieces wait, first ones a moment only.
pub const RESULTS_BYTES_MAX: usize = 64 * 1024 * 1024;
/// One piece of a result, in bytes: what is read from the blob store at once.
pub const RESULT_PIECE_BYTES: usize = 128 * 1024;
/// Pieces of one result that are on their way at once: the next one is read when the one before the last was written. All the room is
/// thus enough for 256 callers at full speed.
pub const RESULT_PIECES_HELD_MAX: usize = 2;
/// Longest time in which a caller may take less than `WRITE_BYTES_MIN` of an answer that waits for it, in seconds; then its connection is cut.
pub const WRITE_STALL_SECS_MAX: u64 = 30;
/// As above, in bytes.
pub const WRITE_BYTES_MIN: usize = 64 * 1024;
/// Highest rank (number of dimensions) of a tensor, and so the deepest nesting of its `data`.
pub const TENSOR_RANK_MAX: usize = 8;
/// Most elements in one tensor: the product of its shape may not pass it.
pub const TENSOR_ELEMENTS_MAX: usize = 16 * 1024 * 1024;
/// Most nodes that a model's functions may come to, each call written out. Large language models have some ten thousand.
pub const MODEL_NODES_MAX: usize = 100_000;
/// How deep a model's functions, and the graphs in their nodes, may be in each other: the runtime goes down by recursion, and some hundreds are more
/// than a slot's stack holds.
pub const MODEL_CALLS_DEPTH_MAX: usize = 64;
/// How deep graphs in a model's nodes may be in each other, functions written out; models that do something have two or three. The runtime visits an inner
/// graph again for each one around it: 30 of them keep it busy for ever, and a load heeds no stop.
pub const MODEL_GRAPHS_DEPTH_MAX: usize = 8;
/// Most tensors in one input.
pub const TENSORS_MAX: usize = 64;
/// Most texts in one input of a text model.
pub const TEXTS_MAX: usize = 1024;
/// Longest of them, in bytes: a tokenizer cannot be stopped in the middle of a text, and this many take it some 50 ms.
pub const TEXT_BYTES_MAX: usize = 64 * 1024;
/// Most tokens of one text that a model may take.
pub const TEXT_TOKENS_MAX: usize = 8192;
/// Most tokens, padding included, in one micro-batch of texts; a text that has more runs alone. Measured with all-MiniLM-L6-v2 on one
/// thread: texts of 32 tokens gain nothing beyond it (102 rows/s), texts of 128 lose a fifth at eight times as many; and a step of so
/// many tokens takes up to 0.2 s, which is how long a job with many texts holds its slot between two steps.
pub const MICRO_BATCH_TOKENS_MAX: usize = 512;
/// Most runs of a stepped model in one job.
pub const STEPS_MAX: u64 = 1_000_000;
/// How long a stepped model's runs are bundled into one step, in milliseconds: a run of 0.1 ms would pay more for the loop around it than for itself.
pub const STEP_MS: u64 = 10;
/// Highest temperature that a caller may ask for. Above it, chances are as good as even.
pub const TEMPERATURE_MAX: f64 = 10.0;
/// Largest file of a vocabulary, in bytes.
pub const VOCABULARY_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Largest file that holds one setting (`SIDING_<SECTION>__<KEY>_FILE`), in bytes: a URL or a certificate.
pub const SETTING_FILE_BYTES_MAX: u64 = 64 * 1024;
/// Largest `model.toml`, in bytes.
pub const MANIFEST_BYTES_MAX: u64 = 256 * 1024;
/// Most version folders in one model repository.
pub const MODEL_FOLDERS_MAX: usize = 10_000;
/// Most rows that one store statement writes. Larger groups gain nothing (measured: 96 k rows/s at 100, 137 k at 1000).
pub const GROUP_ROWS_MAX: usize = 256;
/// Most submissions, and most cancels, that wait for the store at once; one more is refused with 429.
pub const SUBMISSIONS_WAITING_MAX: usize = 4096;
/// Most committed jobs that wait for the fast path's publish; further ones are left to the relay.
pub const PUBLISH_WINDOW_MAX: usize = 1024;
/// Most records (progress, results) of one worker that wait for the store; a slot waits before it runs another job.
pub const RECORDS_WAITING_MAX: usize = 1024;
/// Largest checkpoint of one job, in bytes; a computation with a larger state goes on without. With an input it fits into a frame, so that every
/// worker can go on from it.
pub const CHECKPOINT_BYTES_MAX: usize = 192 * 1024 * 1024;
/// Longest time that the writing or reading of one checkpoint may take, in seconds. The run waits for it.
pub const CHECKPOINT_SECS_MAX: u64 = 30;
/// Longest time that the removing of a group's checkpoints may take, in seconds; then they stay.
pub const BLOBS_REMOVE_SECS_MAX: u64 = 2;
/// Most hints buffered for one listener of the event bus; a slower listener is told that it has missed some.
pub const HINTS_BUFFERED_MAX: usize = 4096;
/// Most hints that wait for the way to other processes; further ones are dropped, counted, and told to the listeners there as missed.
pub const HINTS_SENDING_MAX: usize = 4096;
/// Most hints in one message between processes. They are grouped without waiting for more.
pub const HINTS_GROUP_MAX: usize = 256;
/// Longest time that the opening of both connections to the broker and the declaring of its queues may take, in seconds.
pub const BROKER_OPEN_SECS_MAX: u64 = 10;
/// Longest time that one call to the broker (a subscription, a count, an acknowledgement on its way out) may take, in seconds.
pub const BROKER_CALL_SECS_MAX: u64 = 5;
/// Longest region, in bytes: with a lane's name in it, a queue's name must fit into the 255 bytes of AMQP.
pub const REGION_BYTES_MAX: usize = 64;
/// Most events that one page of a job's stream reads from the store, and so the most that one caller buffers.
pub const EVENTS_PAGE_MAX: usize = 256;
/// Longest time that a call to a cache outside of this process may take, in milliseconds; then it counts as away.
pub const CACHE_CALL_MS_MAX: u64 = 250;
/// How long such a cache is not asked after it was found away, in milliseconds: what a dead one costs is one wait in that time.
pub const CACHE_AWAY_MS: u64 = 1000;
/// Largest value that is sent to such a cache, in bytes; a larger one is not remembered.
pub const CACHE_VALUE_BYTES_MAX: usize = 1024 * 1024;
/// Most keys of which a process remembers that it could not replace their value there; with one more it begins with nothing.
pub const CACHE_DOUBTS_MAX: usize = 10_000;
/// Most jobs in one page of a list.
pub const LIST_PAGE_MAX: usize = 500;
/// Most event streams that one process holds open; one more is refused with 503.
pub const STREAMS_OPEN_MAX: usize = 10_000;
/// What a page of a stream aims at, in bytes of event data: large events are read in pages of fewer.
pub const EVENTS_PAGE_BYTES: usize = 256 * 1024;
/// Most calls of one process that wait for a job's end; one more is answered with the job as it stands.
pub const WAITS_OPEN_MAX: usize = 10_000;
/// Longest wait that `Prefer: wait=n` may ask for, in seconds.
pub const PREFER_WAIT_SECS_MAX: u64 = 60;
/// Longest error text kept with a failed job, in bytes; longer ones are cut.
pub const FAILURE_TEXT_BYTES_MAX: usize = 4096;
/// Most attempts that a caller may allow a job to fail.
pub const ATTEMPTS_MAX: u32 = 100;
/// Longest delay between submission and a scheduled start, and longest start deadline or run timeout, in milliseconds (30 days).
pub const HORIZON_MS_MAX: u64 = 30 * 24 * 3600 * 1000;
/// Largest thing that a worker and a model process say to each other, in bytes: an input with a state, an output, a state.
pub const MODEL_FRAME_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Computations that a model process has begun and not ended at once; one more is refused.
pub const MODEL_COMPUTATIONS_MAX: usize = 64;
/// Lines that a model process may print into its worker's log, and how long each may be, in bytes. What is beyond is read and dropped.
pub const MODEL_LOG_LINES_MAX: usize = 100;
/// As above, of one line.
pub const MODEL_LOG_LINE_BYTES_MAX: usize = 512;

const _: () = assert!(REGION_BYTES_MAX + NAME_BYTES_MAX + 32 <= 255, "AMQP's names are short strings");
const _: () = assert!(INLINE_BYTES_MAX < BODY_BYTES_MAX, "a body may need a blob, an inline payload never does");
const _: () = assert!(BODY_BYTES_MAX <= BODIES_BYTES_MAX, "the largest body is accepted when nobody else sends one");
const _: () = assert!(VIEW_OUTPUT_BYTES_MAX <= EXECUTOR_BYTES_MAX, "an output is parsed where it is shown");
const _: () = assert!(RESULT_PIECE_BYTES <= EXECUTOR_BYTES_MAX, "a piece is hashed where it is read");
const _: () = assert!(INLINE_BYTES_MAX <= VIEW_OUTPUT_BYTES_MAX, "what lies in the row is shown");
const _: () = assert!(TENSOR_RANK_MAX < JSON_DEPTH_MAX, "the deepest tensor is no bomb");
const _: () = assert!(BATCH_JOBS_MAX <= PUBLISH_WINDOW_MAX, "a batch fits into an empty window");
const _: () = assert!(GROUP_ROWS_MAX <= RECORDS_WAITING_MAX, "a full group must fit into the queue that feeds it");
const _: () =
    assert!(CHECKPOINT_BYTES_MAX + 2 * BODY_BYTES_MAX < MODEL_FRAME_BYTES_MAX, "a state goes through a frame with its input");
const _: () = assert!(OUTPUT_BYTES_MAX < MODEL_FRAME_BYTES_MAX, "the largest output goes through a frame");

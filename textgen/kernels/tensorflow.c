/* Operations of TensorFlow that compute the loss of a network and its gradients, and AdamW's step.
 *
 * They are registered through TensorFlow's C API when `tf.load_op_library` loads this library. The
 * functions of the API are looked up in the TensorFlow that runs, so that the package is built
 * without it. If one is missing, there is no operation, and the caller does without.
 */

#define _GNU_SOURCE
#include "network.h"

#include <dlfcn.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#ifdef __linux__
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#define QUOTE(name)            #name
#define NAMED(action, variant) "Textgen" action QUOTE(variant)
#define LOSS                   NAMED("Loss", VARIANT) /* the variant is given to the compiler */
#define UPDATE                 NAMED("Update", VARIANT)

enum { FLOAT32 = 1 };                                  /* TF_DataType */
enum { INVALID_ARGUMENT = 3, RESOURCE_EXHAUSTED = 8 }; /* TF_Code */

typedef struct TF_Tensor TF_Tensor;
typedef struct TF_Status TF_Status;
typedef struct TF_OpKernelContext TF_OpKernelContext;
typedef struct TF_OpKernelConstruction TF_OpKernelConstruction;
typedef struct TF_OpDefinitionBuilder TF_OpDefinitionBuilder;
typedef struct TF_KernelBuilder TF_KernelBuilder;
typedef struct TF_ShapeInferenceContext TF_ShapeInferenceContext;

/* The functions of the C API that are used: result, name, arguments. */
#define FUNCTIONS(F)                                                                               \
    F(TF_Status *, TF_NewStatus, (void))                                                           \
    F(void, TF_DeleteStatus, (TF_Status *))                                                        \
    F(void, TF_SetStatus, (TF_Status *, int, const char *))                                        \
    F(int, TF_GetCode, (const TF_Status *))                                                        \
    F(void, TF_DeleteTensor, (TF_Tensor *))                                                        \
    F(int, TF_NumDims, (const TF_Tensor *))                                                        \
    F(int64_t, TF_Dim, (const TF_Tensor *, int))                                                   \
    F(size_t, TF_TensorByteSize, (const TF_Tensor *))                                              \
    F(void *, TF_TensorData, (const TF_Tensor *))                                                  \
    F(int, TF_NumInputs, (TF_OpKernelContext *))                                                   \
    F(void, TF_GetInput, (TF_OpKernelContext *, int, TF_Tensor **, TF_Status *))                   \
    F(TF_Tensor *, TF_AllocateOutput,                                                              \
      (TF_OpKernelContext *, int, int, const int64_t *, int, size_t, TF_Status *))                 \
    F(void, TF_OpKernelContext_Failure, (TF_OpKernelContext *, TF_Status *))                       \
    F(void, TF_OpKernelConstruction_Failure, (TF_OpKernelConstruction *, TF_Status *))             \
    F(void, TF_OpKernelConstruction_GetAttrInt32,                                                  \
      (TF_OpKernelConstruction *, const char *, int32_t *, TF_Status *))                           \
    F(TF_OpDefinitionBuilder *, TF_NewOpDefinitionBuilder, (const char *))                         \
    F(void, TF_RegisterOpDefinition, (TF_OpDefinitionBuilder *, TF_Status *))                      \
    F(void, TF_OpDefinitionBuilderAddAttr, (TF_OpDefinitionBuilder *, const char *))               \
    F(void, TF_OpDefinitionBuilderAddInput, (TF_OpDefinitionBuilder *, const char *))              \
    F(void, TF_OpDefinitionBuilderAddOutput, (TF_OpDefinitionBuilder *, const char *))             \
    F(void, TF_OpDefinitionBuilderSetShapeInferenceFunction,                                       \
      (TF_OpDefinitionBuilder *, void (*)(TF_ShapeInferenceContext *, TF_Status *)))               \
    F(void, TF_ShapeInferenceContextSetUnknownShape, (TF_ShapeInferenceContext *, TF_Status *))    \
    F(TF_KernelBuilder *, TF_NewKernelBuilder,                                                     \
      (const char *, const char *, void *(*)(TF_OpKernelConstruction *),                           \
       void (*)(void *, TF_OpKernelContext *), void (*)(void *)))                                  \
    F(void, TF_RegisterKernelBuilder, (const char *, TF_KernelBuilder *, TF_Status *))

#define DECLARE(result, name, arguments) static result(*name) arguments;
FUNCTIONS(DECLARE)

/* Find the functions; return whether all are there. */
static bool find_functions(void) {
#ifdef __linux__
    void *tensorflow = dlopen("libtensorflow_framework.so.2", RTLD_LAZY | RTLD_NOLOAD);
#else
    void *tensorflow = dlopen("libtensorflow_framework.2.dylib", RTLD_LAZY | RTLD_NOLOAD);
#endif
    if (!tensorflow) tensorflow = RTLD_DEFAULT; /* macOS may know it by its whole path alone */
#define FIND(result, name, arguments)                                                              \
    if (!(name = (result(*) arguments)dlsym(tensorflow, #name))) return false;
    FUNCTIONS(FIND)
    return true;
}

/* The operation of the loss: its attributes, and memory that is kept between its calls. */
typedef struct {
    int32_t cell, transposed, weights, states, masks, resets, gradients;
    atomic_flag busy;
    void *memory;
    size_t bytes;
} Operation;

static const struct {
    const char *name;
    size_t place;
} ATTRIBUTES[] = {
    {"cell", offsetof(Operation, cell)},
    {"transposed", offsetof(Operation, transposed)},
    {"weight_count", offsetof(Operation, weights)},
    {"state_count", offsetof(Operation, states)},
    {"mask_count", offsetof(Operation, masks)},
    {"reset_count", offsetof(Operation, resets)},
    {"gradient_count", offsetof(Operation, gradients)},
};

static void *create(TF_OpKernelConstruction *construction) {
    Operation *operation = calloc(1, sizeof *operation);
    TF_Status *status = TF_NewStatus();
    for (size_t i = 0; i < sizeof ATTRIBUTES / sizeof *ATTRIBUTES && !TF_GetCode(status); i++) {
        void *value = (char *)operation + ATTRIBUTES[i].place;
        TF_OpKernelConstruction_GetAttrInt32(construction, ATTRIBUTES[i].name, value, status);
    }
    if (TF_GetCode(status)) TF_OpKernelConstruction_Failure(construction, status);
    TF_DeleteStatus(status);
    return operation;
}

static void delete(void *operation) {
    free(((Operation *)operation)->memory);
    free(operation);
}

static void *allocate(size_t bytes) {
    const size_t page = 1 << 21;
    bytes = (bytes + page - 1) / page * page;
    void *memory = aligned_alloc(page, bytes);
#if defined __linux__ && defined MADV_HUGEPAGE
    if (memory) madvise(memory, bytes, MADV_HUGEPAGE);
#endif
    return memory;
}

/* The tensors of a call. */
typedef struct {
    TF_OpKernelContext *context;
    TF_Status *status;
    TF_Tensor **tensors; /* inputs and outputs */
    int count;
} Call;

static void *input(Call *call, int number) {
    TF_Tensor *tensor = NULL;
    TF_GetInput(call->context, number, &tensor, call->status);
    if (TF_GetCode(call->status)) return NULL;
    call->tensors[call->count++] = tensor;
    return TF_TensorData(tensor);
}

/* Return the data of an output with the shape of a tensor, or of a number if that is null. */
static void *output(Call *call, int number, const TF_Tensor *like) {
    int64_t shape[4];
    int dimensions = like ? TF_NumDims(like) : 0;
    for (int i = 0; i < dimensions; i++) shape[i] = TF_Dim(like, i);
    size_t bytes = like ? TF_TensorByteSize(like) : sizeof(float);
    TF_Tensor *tensor =
        TF_AllocateOutput(call->context, number, FLOAT32, shape, dimensions, bytes, call->status);
    if (TF_GetCode(call->status)) return NULL;
    call->tensors[call->count++] = tensor;
    return TF_TensorData(tensor);
}

static bool are_below(const int32_t *numbers, size_t count, int32_t limit) {
    for (size_t i = 0; i < count; i++)
        if (numbers[i] < 0 || numbers[i] >= limit) return false;
    return true;
}

static void compute_loss(Operation *operation, Call *call, void **data) {
    int N = operation->weights, S = operation->states, M = operation->masks,
        inputs = N + S + M + 3 + operation->resets;
    for (int i = 0; i < inputs; i++)
        if (!(data[i] = input(call, i)) && TF_GetCode(call->status)) return;
    TF_Tensor **tensors = call->tensors;
    int layers = (N - 3) / 3;
    int32_t units[layers];
    for (int l = 0; l < layers; l++) units[l] = (int32_t)TF_Dim(tensors[2 + 3 * l], 0);
    void **batch_data = data + N + S + M;
    const TF_Tensor *tokens = tensors[N + S + M];
    Network network = {
        .cell = operation->cell,
        .layers = layers,
        .embedding = (int32_t)TF_Dim(tensors[0], 1),
        .vocabulary = (int32_t)TF_Dim(tensors[0], 0),
        .outputs = (int32_t)TF_Dim(tensors[N - 1], 0),
        .transposed = operation->transposed,
        .units = units,
    };
    TextBatch batch = {
        .steps = (int32_t)TF_Dim(tokens, 0),
        .rows = (int32_t)TF_Dim(tokens, 1),
        .tokens = batch_data[0],
        .targets = batch_data[1],
        .counts = batch_data[2],
        .resets = operation->resets ? batch_data[3] : NULL,
        .masks = M ? (const float *const *)(data + N + S) : NULL,
    };
    size_t count = (size_t)batch.steps * batch.rows;
    if (!are_below(batch.tokens, count, network.vocabulary) ||
        !are_below(batch.targets, count, network.outputs)) {
        TF_SetStatus(call->status, INVALID_ARGUMENT, "a token is not in the vocabulary");
        return;
    }
    void **outputs = data + inputs;
    float *loss = output(call, 0, NULL); /* the next call would reset the status */
    if (!loss) return;
    for (int i = 0; i < S; i++)
        if (!(outputs[i] = output(call, 1 + i, tensors[N + i]))) return;
    for (int i = 0; i < operation->gradients; i++)
        if (!(outputs[S + i] = output(call, 1 + S + i, tensors[i]))) return;

    size_t bytes = textgen_workspace(&network, &batch, operation->gradients > 0);
    bool kept =
        !atomic_flag_test_and_set(&operation->busy); /* else another thread works in the memory */
    void *memory = operation->memory;
    if (!kept) {
        memory = allocate(bytes);
    } else if (operation->bytes < bytes) {
        free(memory);
        memory = operation->memory = allocate(bytes);
        operation->bytes = memory ? bytes : 0;
    }
    if (memory)
        *loss = (float)textgen_loss(&network, &batch, (const float *const *)data,
                                    (const float *const *)(data + N), (float *const *)outputs,
                                    operation->gradients ? (float *const *)(outputs + S) : NULL,
                                    memory);
    else
        TF_SetStatus(call->status, RESOURCE_EXHAUSTED, "there is not enough memory for a step");
    if (kept)
        atomic_flag_clear(&operation->busy);
    else
        free(memory);
}

static void compute_update(Call *call, void **data, int inputs) {
    int weights = (inputs - 1) / 4;
    for (int i = 0; i < inputs; i++)
        if (!(data[i] = input(call, i)) && TF_GetCode(call->status)) return;
    for (int i = 0; i < weights; i++) {
        float *after[3];
        for (int part = 0; part < 3; part++) {
            int number = part * weights + i;
            if (!(after[part] = output(call, number, call->tensors[i]))) return;
        }
        textgen_update(TF_TensorByteSize(call->tensors[i]) / sizeof(float), data[inputs - 1],
                       data[i], data[weights + i], data[2 * weights + i], data[3 * weights + i],
                       after[0], after[1], after[2]);
    }
}

/* Report an error, if there is one, and free the tensors. */
static void end_call(Call *call) {
    if (TF_GetCode(call->status)) TF_OpKernelContext_Failure(call->context, call->status);
    for (int i = 0; i < call->count; i++) TF_DeleteTensor(call->tensors[i]);
    TF_DeleteStatus(call->status);
}

static void run_loss(void *kernel, TF_OpKernelContext *context) {
    Operation *operation = kernel;
    int most = 2 * (operation->weights + operation->states) + operation->masks + 8;
    TF_Tensor *tensors[most];
    void *data[most];
    Call call = {context, TF_NewStatus(), tensors, 0};
    compute_loss(operation, &call, data);
    end_call(&call);
}

static void run_update(void *kernel, TF_OpKernelContext *context) {
    (void)kernel;
    int inputs = TF_NumInputs(context);
    TF_Tensor *tensors[2 * inputs];
    void *data[inputs];
    Call call = {context, TF_NewStatus(), tensors, 0};
    compute_update(&call, data, inputs);
    end_call(&call);
}

static void set_unknown_shape(TF_ShapeInferenceContext *context, TF_Status *status) {
    TF_ShapeInferenceContextSetUnknownShape(context, status);
}

/* Ask the system for what the target needs besides its instructions. */
static bool is_permitted(void) {
#if defined __AMX_BF16__ && defined __linux__
    enum { REQUEST_PERMISSION = 0x1023, TILE_DATA = 18 };
    return syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
#elif defined __AMX_BF16__
    return false;
#else
    return true;
#endif
}

static void register_operation(const char *name, TF_OpDefinitionBuilder *definition,
                               TF_KernelBuilder *kernel) {
    TF_Status *status = TF_NewStatus();
    TF_OpDefinitionBuilderSetShapeInferenceFunction(definition, set_unknown_shape);
    TF_RegisterOpDefinition(definition, status);
    if (!TF_GetCode(status)) TF_RegisterKernelBuilder(name, kernel, status);
    TF_DeleteStatus(status);
}

__attribute__((constructor)) static void register_operations(void) {
    if (!find_functions() || !is_permitted()) return;
    TF_OpDefinitionBuilder *loss = TF_NewOpDefinitionBuilder(LOSS);
    TF_OpDefinitionBuilderAddInput(loss, "weights: weight_count * float");
    TF_OpDefinitionBuilderAddInput(loss, "states: state_count * float");
    TF_OpDefinitionBuilderAddInput(loss, "masks: mask_count * float");
    TF_OpDefinitionBuilderAddInput(loss, "tokens: int32");
    TF_OpDefinitionBuilderAddInput(loss, "targets: int32");
    TF_OpDefinitionBuilderAddInput(loss, "counts: bool");
    TF_OpDefinitionBuilderAddInput(loss, "resets: reset_count * bool");
    TF_OpDefinitionBuilderAddOutput(loss, "loss: float");
    TF_OpDefinitionBuilderAddOutput(loss, "states_after: state_count * float");
    TF_OpDefinitionBuilderAddOutput(loss, "gradients: gradient_count * float");
    TF_OpDefinitionBuilderAddAttr(loss, "cell: int");
    TF_OpDefinitionBuilderAddAttr(loss, "transposed: int");
    TF_OpDefinitionBuilderAddAttr(loss, "weight_count: int >= 6");
    TF_OpDefinitionBuilderAddAttr(loss, "state_count: int >= 1");
    TF_OpDefinitionBuilderAddAttr(loss, "mask_count: int >= 0");
    TF_OpDefinitionBuilderAddAttr(loss, "reset_count: int >= 0");
    TF_OpDefinitionBuilderAddAttr(loss, "gradient_count: int >= 0");
    register_operation(LOSS, loss, TF_NewKernelBuilder(LOSS, "CPU", create, run_loss, delete));

    TF_OpDefinitionBuilder *update = TF_NewOpDefinitionBuilder(UPDATE);
    TF_OpDefinitionBuilderAddInput(update, "gradients: count * float");
    TF_OpDefinitionBuilderAddInput(update, "weights: count * float");
    TF_OpDefinitionBuilderAddInput(update, "means: count * float");
    TF_OpDefinitionBuilderAddInput(update, "squares: count * float");
    TF_OpDefinitionBuilderAddInput(update, "figures: float");
    TF_OpDefinitionBuilderAddOutput(update, "weights_after: count * float");
    TF_OpDefinitionBuilderAddOutput(update, "means_after: count * float");
    TF_OpDefinitionBuilderAddOutput(update, "squares_after: count * float");
    TF_OpDefinitionBuilderAddAttr(update, "count: int >= 1");
    register_operation(UPDATE, update, TF_NewKernelBuilder(UPDATE, "CPU", NULL, run_update, NULL));
}

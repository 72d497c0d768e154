"""The update that belongs to a weight gradient: its numbers once a step, its loop once a cell."""

cdef union Options:
    SgdOptions_float sgd_single
    SgdOptions_double sgd_double
    AdamOptions_float adam_single
    AdamOptions_double adam_double
    RmspropOptions_float rmsprop_single
    RmspropOptions_double rmsprop_double
    AdagradOptions_float adagrad_single
    AdagradOptions_double adagrad_double


cdef struct Update:
    UpdateKind kind
    double learning_rate, weight_decay, bias_decay
    Options weight, bias


cdef Options options_of(
    const Operation *op, const Step *step, double decay, const real *like
) noexcept nogil:
    cdef double rate = step.learning_rate
    cdef const double *given = op.settings
    cdef Options options
    if op.update == SGD or op.update == PLAIN_SGD:
        if real is float:
            options.sgd_single = sgd_options_float(
                rate, given[0], given[1], given[2] != 0, decay, step.update)
        else:
            options.sgd_double = sgd_options_double(
                rate, given[0], given[1], given[2] != 0, decay, step.update)
    elif op.update == ADAM:
        if real is float:
            options.adam_single = adam_options_float(
                rate, given[0], given[1], given[2], decay, step.powers)
        else:
            options.adam_double = adam_options_double(
                rate, given[0], given[1], given[2], decay, step.powers)
    elif op.update == ADAMW:
        if real is float:
            options.adam_single = adamw_options_float(
                rate, given[0], given[1], given[2], decay, step.powers)
        else:
            options.adam_double = adamw_options_double(
                rate, given[0], given[1], given[2], decay, step.powers)
    elif op.update == RMSPROP:
        if real is float:
            options.rmsprop_single = rmsprop_options_float(
                rate, given[0], given[1], given[2], decay)
        else:
            options.rmsprop_double = rmsprop_options_double(
                rate, given[0], given[1], given[2], decay)
    elif op.update == ADAGRAD:
        if real is float:
            options.adagrad_single = adagrad_options_float(rate, given[0], decay)
        else:
            options.adagrad_double = adagrad_options_double(rate, given[0], decay)
    return options


cdef inline Update update_of(
    const Operation *op, const Step *step, const real *like
) noexcept nogil:
    cdef Update rule
    rule.kind = op.update
    rule.learning_rate = step.learning_rate
    rule.weight_decay = op.weight_decay
    rule.bias_decay = op.bias_decay
    rule.weight = options_of(op, step, op.weight_decay, like)
    if op.bias_apart:
        rule.bias = options_of(op, step, op.bias_decay, like)
    return rule


cdef inline real *moved(real *vector, Py_ssize_t offset) noexcept nogil:
    return NULL if vector == NULL else vector + offset


cdef inline void update_patch(
    const Update *rule, bint is_bias, real *weights, const real *gradient, real **state,
    Py_ssize_t offset, Patch patch
) noexcept nogil:
    """Update weights from their gradient; the state beside them begins at `offset`."""
    cdef const Options *options = &rule.bias if is_bias else &rule.weight
    cdef real *first = moved(state[0], offset)
    cdef real *second = moved(state[1], offset)
    cdef real *third = moved(state[2], offset)
    if rule.kind == SGD or rule.kind == PLAIN_SGD:
        if real is float:
            sgd_float(&options.sgd_single, weights, gradient, first, patch)
        else:
            sgd_double(&options.sgd_double, weights, gradient, first, patch)
    elif rule.kind == RMSPROP:
        if real is float:
            rmsprop_float(
                &options.rmsprop_single, weights, gradient, first, second, third, patch)
        else:
            rmsprop_double(
                &options.rmsprop_double, weights, gradient, first, second, third, patch)
    elif rule.kind == ADAGRAD:
        if real is float:
            adagrad_float(&options.adagrad_single, weights, gradient, first, patch)
        else:
            adagrad_double(&options.adagrad_double, weights, gradient, first, patch)
    else:
        if real is float:
            adam_float(&options.adam_single, weights, gradient, first, second, patch)
        else:
            adam_double(&options.adam_double, weights, gradient, first, second, patch)

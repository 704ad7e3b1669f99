internal import EspalierArchitectures
internal import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierLinearMaps
internal import EspalierNetworks
internal import EspalierReduction

extension ReductionTarget {
  /// How the codes of a parameter are written.
  struct Packing: Sendable, Hashable {
    let layout: PackedLayout
    let form: PackedLayout.Form
    /// Whether the parameter is `[in, out]`; layouts have matrices as `[out, in]` whatever.
    let isTransposed: Bool

    /// The parameter that tensors of a file hold.
    func parameter(like original: Parameter, in stored: [StoredTensor]) throws(Problem) -> Parameter {
      var parameter = try layout.parameter(
        named: original.name, form: form, in: stored, declaredType: original.elementType)
      if isTransposed {
        parameter.shape.reverse()
        parameter.recipe = .transposed(parameter.recipe, shape: parameter.shape)
      }
      return parameter
    }
  }

  /// The packing of this parameter as codes of one kind.
  ///
  /// - Throws: `reduction` where codes of its matrices cannot be put together, `checkpoint.packed` where the layout does
  ///   not have them.
  func packing(_ codes: CodeForm, in layout: PackedLayout) throws(Problem) -> Packing {
    var form = codes.form(rows: matrices[0].outputs, columns: matrices[0].inputs)
    if wholeMatrix == nil {
      let places = matrices.flatMap { $0.rows ?? Array(0..<$0.outputs) }
      guard parameter.shape.count == 2, places.count == parameter.shape[0], Set(places).count == places.count,
        matrices.allSatisfy({ $0.inputs == parameter.shape[1] && !$0.isTransposed })
      else {
        throw Problem(
          .reduction, "the parameter holds several matrices, or not all of it is quantized: no layout has it so",
          remedy: "Leave it out with --keep, or give --store dense.", tensor: parameter.name)
      }
      guard form.tileRows == 1 else {
        throw Problem(
          .reduction, "the parameter holds several matrices, whose rows would share scales",
          remedy: "Share scales in rows or groups, leave it out with --keep, or give --store dense.",
          tensor: parameter.name)
      }
      form = codes.form(rows: places.count, columns: parameter.shape[1])
    }
    do throws(Problem) { _ = try layout.tensors(of: form, parameter: parameter.name) } catch {
      throw Problem(
        error.code, error.message,
        remedy: error.remedy ?? "Choose another --group or --format, or leave it out with --keep.",
        tensor: parameter.name)
    }
    return Packing(layout: layout, form: form, isTransposed: wholeMatrix?.isTransposed ?? false)
  }

  /// The tensors that the codes of its matrices are written as.
  func packed(_ weights: [StoredWeight], _ packing: Packing) throws(Problem) -> [ReducedEncoding.Part] {
    var parts: [QuantizedMatrix] = []
    for weight in weights {
      guard case .quantized(let matrix) = weight.form else {
        throw Problem(.reduction, "the method made no codes", tensor: parameter.name)
      }
      parts.append(matrix)
    }
    let whole = parts.count == 1 && wholeMatrix != nil ? parts[0] : try stacked(parts)
    guard PackedLayout.Form(whole) == packing.form else {
      throw Problem(
        .reduction, "the codes are not of the form that was foreseen", remedy: "This is a defect; please report it.",
        tensor: parameter.name)
    }
    return try packing.layout.encode(whole, parameter: parameter.name)
  }

  /// Matrices as the rows of one that they are.
  private func stacked(_ parts: [QuantizedMatrix]) throws(Problem) -> QuantizedMatrix {
    let first = parts[0]
    let (rows, columns, across) = (parts.reduce(0) { $0 + $1.rows }, first.columns, first.scaleColumns)
    guard parts.allSatisfy({ $0.groupOfColumn == first.groupOfColumn && $0.grid == first.grid }) else {
      throw Problem(
        .reduction, "the matrices of one parameter have their columns in different groups",
        remedy: "Quantize without act_order, or with static_groups.", tensor: parameter.name)
    }
    var codes = [UInt8](repeating: 0, count: rows * columns)
    var scales = [Float](repeating: 0, count: rows * across)
    var zeros = first.zeros.map { _ in [UInt8](repeating: 0, count: rows * across) }
    for (part, matrix) in zip(parts, matrices) {
      for row in 0..<part.rows {
        let place = matrix.rows?[row] ?? row
        let (own, target) = (row * across..<(row + 1) * across, place * across..<(place + 1) * across)
        codes.replaceSubrange(
          place * columns..<(place + 1) * columns, with: part.codes[row * columns..<(row + 1) * columns])
        scales.replaceSubrange(target, with: part.scales[own])
        if let values = part.zeros { zeros?.replaceSubrange(target, with: values[own]) }
      }
    }
    return try QuantizedMatrix(
      rows: rows, columns: columns, grid: first.grid, codes: codes, scales: scales, zeros: zeros, tileRows: 1,
      tileColumns: first.tileColumns, groupOfColumn: first.groupOfColumn, scaleType: first.scaleType)
  }
}

extension ReductionPlan {
  /// `quantization_config` of the model that is written.
  static func quantizationConfig(
    _ layout: PackedLayout, _ targets: [ReductionTarget], of network: Network
  ) throws(Problem) -> JSON {
    let quantized = targets.compactMap { target in target.packing.map { (target.parameter.name, $0.form) } }
    let taken = Set(quantized.map { ExactString($0.0) })
    var plain: [String] = []
    for index in try network.blocks().indices {
      for matrix in try network.matrices(ofBlock: index) where !taken.contains(ExactString(matrix.parameter.name)) {
        switch matrix.part {
        case .embedding, .positionEmbedding, .typeEmbedding, .patchEmbedding, .convolution, .norm: continue
        // GPTQ's configs have a word of their own for it.
        case .headProjection where layout == .gptq || layout == .gptqV2: continue
        // A head that is the embedding too is a module of its own all the same.
        case .headProjection: plain.append(matrix.name)
        default: plain.append(matrix.parameter.name)
        }
      }
    }
    return try layout.configuration(for: quantized, plain: plain.uniqued())
  }
}

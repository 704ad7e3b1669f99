internal import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierNumerics
internal import Synchronization

/// What the measurements of one run share: threads, open files, memory, the listener.
struct MeasurementContext: Sendable {
  let pool: WorkerPool
  let files = FilePool()
  let listener: any ProgressListener
  let wantsSpectra: Bool
  /// Shares memory among spectra; the buffers of scans are small and allowed for.
  private let spectrumMemory: MemoryLedger

  /// What the program takes besides spectra: code, libraries, headers, buffers of scans.
  private static let baseBytes = 64 << 20

  private init(_ options: MeasurementOptions) {
    pool = WorkerPool(threads: options.threads)
    listener = options.listener
    wantsSpectra = options.spectra
    spectrumMemory = MemoryLedger(capacity: max(0, options.memory - Self.baseBytes))
  }

  /// Runs `body` as a stage of which the listener hears, and ends the threads.
  static func run<T>(
    _ options: MeasurementOptions, stage: String, totalBytes: Int, _ body: (Self) throws(Problem) -> T
  ) throws(Problem) -> T {
    let start = Machine.monotonicSeconds
    options.listener.receive(.began(stage: stage, totalBytes: totalBytes))
    let context = MeasurementContext(options)
    defer { context.pool.stop() }
    let result = try body(context)
    options.listener.receive(.ended(stage: stage, seconds: Machine.monotonicSeconds - start))
    return result
  }

  /// A scan over parameters of one element count.
  func scan(_ parameters: [Parameter]) throws(Problem) -> ParameterScan {
    var readers: [any ParameterReader] = []
    for parameter in parameters {
      do throws(Problem) { readers.append(try parameter.recipe.reader(files: files)) } catch {
        throw error.at(tensor: parameter.name)
      }
    }
    return ParameterScan(
      readers: readers, bytesPerElement: parameters.reduce(0) { $0 + $1.elementType.byteWidth }, pool: pool,
      listener: listener)
  }

  /// Whether a parameter has a spectrum: not an empty matrix of floats.
  static func hasSpectrum(_ parameter: Parameter) -> Bool {
    parameter.shape.count == 2 && parameter.elementType.isFloat && parameter.elementCount > 0
  }

  /// The spectrum of the matrix of `shape` whose elements `values` gives for each block of `scan`, or why there is
  /// none: NaN or infinity in it, or the memory it would take.
  func spectrum(
    of scan: ParameterScan, shape: [Int], name: String, _ values: (ParameterScan.Block) -> UnsafePointer<Float>
  ) throws(Problem) -> Result<Spectrum, Problem> {
    let (rows, columns) = (shape[0], shape[1])
    do throws(Problem) {
      return try spectrumMemory.withReservation(of: Spectrum.workingBytes(rows: rows, columns: columns)) {
        () throws(Problem) in
        let elements = try scan.elements(values)
        let matrix = try Matrix(rows: rows, columns: columns, elements: elements)
        return .success(try Spectrum(of: matrix) { count, body throws(Problem) in try pool.forEach(count, body) })
      }
    } catch {
      let isAboutMatrix = [.memoryCeiling, .nonFiniteMatrix, .notConverged, .matrixTooLarge].contains(error.code)
      guard isAboutMatrix else { throw error.at(tensor: name) }
      return .failure(error.at(tensor: name))
    }
  }
}

extension WorkerPool {
  /// The results of `body(0)` ... `body(count - 1)`, in this order.
  func map<T: Sendable>(_ count: Int, _ body: (Int) throws(Problem) -> T) throws(Problem) -> [T] {
    let results = Mutex([T?](repeating: nil, count: count))
    try forEach(count) { (index) throws(Problem) in
      let result = try body(index)
      results.withLock { $0[index] = result }
    }
    return results.withLock { $0.compactMap { $0 } }
  }

  /// The same with the most expensive items begun first, so that none is left alone at the end; ties by index.
  func map<T: Sendable>(costs: [Int], _ body: (Int) throws(Problem) -> T) throws(Problem) -> [T] {
    let order = costs.indices.sorted { (costs[$1], $0) < (costs[$0], $1) }
    let results = try map(order.count) { (position) throws(Problem) in try body(order[position]) }
    return zip(order, results).sorted { $0.0 < $1.0 }.map(\.1)
  }
}

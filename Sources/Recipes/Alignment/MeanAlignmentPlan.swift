internal import EspalierArchitectures
public import EspalierBasics
public import EspalierCheckpoints
internal import EspalierExecution
public import EspalierRestructuring

/// Several models that are brought into one order: everything that is known before a weight is read.
public struct MeanAlignmentPlan: Sendable {
  /// A model, as the user names it, and as it is written.
  public struct Member: Sendable {
    public let name: String
    public let checkpoint: any Checkpoint
    public let output: String
    /// Nil where an interrupted run, which `--resume` goes on with, has written it whole.
    public let conversion: MergePlan?
  }

  public let members: [Member]
  public let warnings: [Problem]
  /// Bytes that matching takes at the most, as planned.
  public let workingBytes: Int
  /// What is asked for in a line.
  public let line: String
  let run: RunOptions
  let family: Architecture
  let matching: MeanMatching

  /// - Parameters:
  ///   - models: at least two, each with the options of its own output.
  /// - Throws: every problem that can be known from headers, all at once.
  public init(
    _ models: [(name: String, checkpoint: any Checkpoint, writing: MergeOptions)], options: AlignmentOptions,
    run: RunOptions
  ) throws(Problems) {
    var problems = Problems()
    var members: [Member] = []
    let line = Self.line(models.map(\.name), options)
    var known: JSON?
    func inputs() throws(Problem) -> JSON {
      if let known { return known }
      let found = try AlignedOutput.inputs(of: models.map(\.checkpoint), workers: run.pool)
      known = found
      return found
    }
    for model in models {
      let (name, output) = (model.name, model.writing.output)
      do throws(Problems) {
        var isThere = false
        if model.writing.policy.resume {
          do throws(Problem) {
            isThere = try AlignedOutput.isWhole(
              output, of: line, inputs: { () throws(Problem) in try inputs() }, threads: run.pool.threadCount)
          } catch { throw Problems([error]) }
        }
        let conversion = isThere ? nil : try Conversion.plan(of: name, elementType: nil, options: model.writing)
        members.append(Member(name: name, checkpoint: model.checkpoint, output: output, conversion: conversion))
      } catch { problems.all += error.all }
    }
    guard let first = models.first else { throw Problems([Problem(.restructuring, "there is no model to align")]) }
    var found: (family: Architecture, matching: MeanMatching, bytes: Int)?
    do throws(Problems) {
      var family = try SharedFamily.of(first.checkpoint, first.checkpoint, among: run.families)
      for model in models.dropFirst() {
        family = try SharedFamily.of(first.checkpoint, model.checkpoint, among: run.families)
        problems.all += SharedFamily.warnings(model: model.checkpoint, reference: first.checkpoint, run)
      }
      let matching = try MeanMatching(models.map(\.checkpoint), of: family, options: options, workers: run.pool)
      let bytes = RunOptions.workingMemory + (try matching.workingBytes(threads: run.pool.threadCount))
      found = (family, matching, bytes)
    } catch { problems.all += error.all }
    if let found, found.bytes > run.memory {
      problems.add(
        Problem(
          .memoryCeiling,
          "matching takes \(ByteCount.text(found.bytes)), and the ceiling is \(ByteCount.text(run.memory))",
          remedy: "Raise --memory, or give fewer --threads.", file: first.checkpoint.location))
    }
    if problems.errors.isEmpty, let lack = AlignedOutput.lackOfSpace(for: members.compactMap(\.conversion)) {
      problems.add(lack)
    }
    guard problems.errors.isEmpty, let (family, matching, bytes) = found else {
      throw Problems(problems.errors.uniqued())
    }
    (self.members, self.run, self.family, self.matching) = (members, run, family, matching)
    workingBytes = bytes
    self.line = line
    warnings = (members.flatMap { $0.conversion?.warnings ?? [] } + problems.warnings).uniqued()
  }

  private static func line(_ models: [String], _ options: AlignmentOptions) -> String {
    let names = models.map { FileSystem.lastComponent(of: $0) }.joined(separator: ", ")
    return "align: \(names) to their mean, by weights, \(options.weighing.rawValue) weighing"
      + (options.keeping.isEmpty ? "" : ", keeping \(options.keeping.sorted().joined(separator: ", "))")
      + (options.restarts == 0 ? "" : ", \(options.restarts) restarts") + ", seed \(options.seed)"
  }

  /// The plan for a program.
  public var json: JSON {
    [
      "request": .string(line), "models": .array(members.map { .string($0.name) }),
      "outputs": .array(members.map { .string($0.output) }),
      "planned_bytes": .number(workingBytes),
    ]
  }
}

public import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierEvaluation

/// A recipe of steps, all of them planned as far as headers tell: `espalier run`.
///
/// A step after the first is planned on what the one before it will write. When it is its turn it is planned again, on
/// what is there.
public struct StepsPlan: Sendable {
  /// What a step will do, for people and programs.
  struct Outline: Sendable {
    var verb: String
    var line: Int
    var text: String
    var json: JSON
  }

  let planner: StepsPlanner
  /// The recipe as it was written.
  let source: String
  let outlines: [Outline]
  public let warnings: [Problem]

  /// Reads and plans; touches nothing.
  ///
  /// - Parameters:
  ///   - file: the recipe; paths in it are taken from its folder.
  ///   - options: what is written where; the seed is the recipe's.
  ///   - run: how models are run for calibration and evaluation.
  /// - Throws: every problem that can be known before weights are read, with the recipe's lines.
  public init(
    recipeAt file: String, options: MergeOptions, run: RunOptions, listener: any ProgressListener
  ) throws(Problems) {
    var warnings: [Problem] = []
    do throws(Problem) {
      source = String(decoding: try FileSystem.read(file, limit: 16 << 20), as: UTF8.self)
    } catch { throw Problems([error]) }
    let recipe = try StepsRecipe.read(source, file: file, warnings: &warnings)
    planner = StepsPlanner(recipe, file: file, options: options, run: run, listener: listener)
    var problems = Problems(planner.overlaps())
    problems.all += StepStages.obstacles(beside: options.output, policy: options.policy)
    do throws(Problems) {
      let planned = try Self.foresee(planner)
      (outlines, self.warnings) = (planned.outlines, (warnings + planned.warnings).uniqued())
    } catch {
      problems.all += error.all
      throw Problems(problems.errors.uniqued())
    }
    guard problems.errors.isEmpty else { throw problems }
  }

  private static func foresee(
    _ planner: StepsPlanner
  ) throws(Problems) -> (outlines: [Outline], warnings: [Problem]) {
    var problems = Problems()
    var warnings: [Problem] = []
    var outlines: [Outline] = []
    // Without the model that the recipe begins with there is nothing to plan the steps on.
    var models = try planner.begin()
    for (index, step) in planner.recipe.steps.enumerated() {
      do throws(Problems) {
        let planned = try planner.plan(index, models)
        warnings += planned.warnings.map { $0.inRecipeWords() }
        outlines.append(
          Outline(
            verb: step.verb, line: step.line, text: planned.outlineText, json: planned.outlineJSON))
        do throws(Problem) {
          if var next = try planner.foreseen(planned, index) {
            next.isProvisional = next.isProvisional || models.current?.isProvisional == true
            models.advance(to: next)
          }
        } catch { throw Problems([error]) }
      } catch {
        problems.all += error.all
        // Later steps are planned on what this one was given; after a merge there may be nothing.
        guard let current = models.current else { break }
        if step.makesModel {
          models.advance(to: StepModel(name: planner.name(index), checkpoint: current.checkpoint))
        }
      }
    }
    guard problems.errors.isEmpty else { throw problems }
    return (outlines, warnings)
  }

  // MARK: - What will be done

  /// One line before the work.
  public var summary: String {
    let verbs = outlines.map(\.verb).joined(separator: ", ")
    return
      "\(outlines.count) step\(outlines.count == 1 ? "" : "s"): \(verbs); stages in \(StepStages.folder(beside: planner.options.output))"
  }

  /// The plan for a person.
  public var text: String {
    outlines.enumerated().map { number, outline in
      let body = outline.text.split(separator: "\n").map { "  \($0)" }.joined(separator: "\n")
      return "step \(number + 1), \(outline.verb) (recipe line \(outline.line))\n\(body)"
    }.joined(separator: "\n\n")
  }

  /// The plan for a program.
  public var json: JSON {
    .object([
      ("event", "plan"), ("output", .string(planner.options.output)),
      (
        "steps",
        .array(
          outlines.map { outline in
            ["step": .string(outline.verb), "recipe_line": .number(outline.line), "plan": outline.json]
          })
      ),
    ])
  }
}

extension PlannedStep {
  fileprivate var outlineText: String {
    switch self {
    case .merge(let plan): PlanText.text(plan, later: [])
    case .restructure(let plan): plan.summary + "\nsteps after it are planned for the model as it was"
    case .reduce(let plan, let wish):
      ReductionOutline(plan).text
        + (wish.needsTable ? "\nbudgets above stand until sensitivities are measured" : "")
    case .quantize(let planned):
      planned.outline.text
        + (planned.fitting == nil ? "" : "\ntypes above stand until their effects are known")
    case .align(let planned): planned.plan.request.line
    case .evaluate(let planned): planned.lines.joined(separator: "\n")
    }
  }

  fileprivate var outlineJSON: JSON {
    switch self {
    case .merge(let plan): PlanText.json(plan)
    case .restructure(let plan): plan.json
    case .reduce(let plan, _): ReductionOutline(plan).json
    case .quantize(let planned): planned.outline.json
    case .align(let planned): planned.plan.json
    case .evaluate(let planned):
      [
        "model": .string(planned.model.name), "against": planned.reference.map { .string($0.name) } ?? .null,
        "protocol": .string(planned.evaluation.cut.text), "files": .array(planned.files.map { .string($0) }),
        "gates": .array(
          planned.gates.map { ["gate": .string($0.kind.rawValue), "limit": .number($0.limit)] }),
      ]
    }
  }
}

extension PlannedEvaluation {
  fileprivate var lines: [String] {
    var lines = ["\(model.name)\(reference.map { " against \($0.name)" } ?? "")"]
    if !evaluation.data.texts.isEmpty { lines.append("texts: \(evaluation.cut.text)") }
    lines += files.map { "on \($0)" }
    lines += gates.map { "gate \($0.kind.rawValue) \($0.limit)\($0.strict ? ", strict" : "")" }
    return lines
  }
}
